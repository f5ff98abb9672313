//! `fork`, `rewind`, `merge`, `diff` and `branches`.

use membrane::{ForkOptions, MergeOptions, Pick, Session, SessionId, WriteOptions};
use membrane_http::wire;

use super::{Keep, session_id};
use crate::args::{Fork, Merge, Rewind};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn fork(keep: &Keep, args: Fork, output: &mut Output) -> Result<(), Failure> {
    let options = ForkOptions { fork_point: args.at, branch_name: args.branch, key: None };
    let fork = keep.chat.fork(&session_id(&args.id)?, options).await?;
    made(&fork, output)
}

pub(super) async fn rewind(keep: &Keep, args: &Rewind, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(&args.id)?;
    let options = WriteOptions { expected_version: args.expect_version, key: None };
    let session = keep.chat.rewind(&id, args.turns, options).await?;
    if output.is_json() {
        return output.document(&wire::session(&session, None));
    }
    let left = keep.chat.list_checkpoints(&id).await?;
    let turns = text::count(session.turn_count(), "turn");
    output.line(&format!("{turns} left in {}", text::printable(id.as_str())))?;
    match left.iter().find(|left| left.kind.is_automatic()) {
        Some(left) => {
            let id = text::printable(id.as_str());
            output.note(&format!("undo with: membrane restore {id} {}", left.id))
        }
        None => Ok(()),
    }
}

pub(super) async fn merge(keep: &Keep, args: Merge, output: &mut Output) -> Result<(), Failure> {
    let (base, other) = (session_id(&args.base)?, session_id(&args.other)?);
    let picks = args.picks.iter().map(|text| pick(text)).collect::<Result<_, _>>()?;
    let options = MergeOptions { strategy: args.strategy.into(), picks, branch_name: args.branch, key: None };
    let merged = keep.chat.merge(&base, &other, options).await?;
    made(&merged, output)
}

pub(super) async fn diff(keep: &Keep, left: &str, right: &str, output: &mut Output) -> Result<(), Failure> {
    let found = keep.chat.diff(&session_id(left)?, &session_id(right)?).await?;
    if output.is_json() {
        return output.document(&wire::diff(&found));
    }
    output.raw(&text::diff(&found))
}

pub(super) async fn branches(keep: &Keep, id: &str, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(id)?;
    let nodes = keep.chat.branches(&id).await?;
    if output.is_json() {
        let branches = nodes.iter().map(|node| wire::branch(node, &id)).collect();
        return output.document(&wire::BranchTree { branches });
    }
    output.raw(&text::branches(&nodes, &id))
}

/// A new session: its id alone, so that a script can go on with it.
fn made(session: &Session, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&wire::session(session, None));
    }
    output.line(&text::printable(session.id.as_str()))
}

/// Ids may hold colons: the number is behind the last one.
fn pick(text: &str) -> Result<Pick, Failure> {
    let odd = || Failure::usage(format!("{text:?} is not a pick; give ID:N, such as session-0123:4"));
    let (session, number) = text.rsplit_once(':').ok_or_else(odd)?;
    Ok(Pick {
        session: SessionId::parse(session).map_err(|_| odd())?,
        turn_number: number.parse().map_err(|_| odd())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_is_an_id_a_colon_and_a_number() {
        let found = pick("old:id:-3").unwrap();
        assert_eq!((found.session.as_str(), found.turn_number), ("old:id", -3));
        for odd in ["", "session", "session:", ":1", "session:x"] {
            assert!(pick(odd).unwrap_err().to_string().contains("ID:N"), "{odd}");
        }
    }
}
