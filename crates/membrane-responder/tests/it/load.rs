//! Much of everything.

use membrane_responder::provider::{Provider, ProviderKind};
use membrane_testservers::model::Answer;

use super::{answer, answer_of, ask, options, start};

#[tokio::test]
async fn a_huge_answer_in_tiny_pieces_arrives_whole() {
    let text: String = (0..1 << 20).map(|n| char::from(b'a' + u8::try_from(n % 23).unwrap())).collect();
    let server = start();
    server.then(Answer::default().pieces(&text, 4));
    let said = answer(options(&server, ProviderKind::OpenAi), ask("x")).await;
    assert!(said.has_ended && said.n_pieces == text.len() / 4, "{:?}", said.error);
    assert!(said.text == text);
}

#[tokio::test]
async fn a_huge_answer_in_one_piece_arrives_whole() {
    let text = "🙂".repeat(1 << 18);
    for kind in ProviderKind::ALL {
        let server = start();
        server.then(Answer::default().say(&text));
        let said = answer(options(&server, kind), ask("x")).await;
        assert!(said.has_ended && said.text == text, "{kind}: {:?}", said.error);
    }
}

#[tokio::test]
async fn a_huge_input_of_a_call_in_fragments_arrives_whole() {
    let input = format!(r#"{{"x":"{}"}}"#, "y".repeat(64 << 10));
    for kind in [ProviderKind::OpenAi, ProviderKind::Anthropic] {
        let server = start();
        server.then(Answer::default().call_in_fragments("c", "look", &input, 64));
        let said = answer(options(&server, kind), ask("x")).await;
        assert!(said.calls[0].2 == input, "{kind}");
    }
}

#[tokio::test]
async fn a_hundred_conversations_at_once_do_not_mix() {
    let server = start();
    let provider = Provider::new(options(&server, ProviderKind::OpenAi)).unwrap();
    let answers = (0..100).map(|n| {
        let prompt = ask(&format!("number {n}"));
        let said = answer_of(&provider, prompt);
        async move { (n, said.await) }
    });
    for (n, said) in futures_util::future::join_all(answers).await {
        assert_eq!(said.text, format!("You said: number {n}"), "{said:?}");
    }
}
