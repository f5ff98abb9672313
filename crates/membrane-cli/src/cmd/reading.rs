//! `sessions` and `show`.

use membrane::{Cursor, PageRequest, SessionFilter, Thread};
use membrane_http::wire;

use super::{Keep, not_found, session_id};
use crate::args::{Sessions, Show};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn sessions(keep: &Keep, args: Sessions, output: &mut Output) -> Result<(), Failure> {
    let filter = SessionFilter { project_id: args.project, branch_name: args.branch };
    let after = args.cursor.as_deref().map(Cursor::decode).transpose()?;
    let request = PageRequest { after, ..PageRequest::first(args.limit) };
    let page = keep.chat.list_sessions(&filter, &request).await?;
    if output.is_json() {
        let sessions = page.sessions.iter().map(|session| wire::session(session, None)).collect();
        return output.document(&wire::page(sessions, page.total, (args.limit, 0), page.next.as_ref()));
    }
    output.raw(&text::page(&page))?;
    match &page.next {
        Some(next) => {
            let next = text::printable(&next.encode());
            output
                .note(&format!("{} in all; more with --cursor '{next}'", text::count(page.total, "session")))
        }
        None if page.total == 0 => output.note("no sessions; make one with \"membrane append --new\""),
        None => Ok(()),
    }
}

pub(super) async fn show(keep: &Keep, args: &Show, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(&args.id)?;
    let to = args.limit.map_or(u64::MAX, |limit| args.from.saturating_add(limit));
    let thread = keep.chat.load_turns(&id, args.from..to).await?;
    let Thread { session, turns } = thread.ok_or_else(|| not_found(&id))?;
    let shown = u64::try_from(turns.len()).unwrap_or(u64::MAX);
    if output.is_json() {
        let pending = keep.chat.find_pending(&session).await?;
        return output.document(&wire::WholeSession {
            turns_truncated: shown < session.turn_count(),
            turns: Some(turns.iter().map(|kept| wire::turn(&session, kept)).collect()),
            session: wire::session(&session, pending.as_ref().map(wire::pending)),
        });
    }
    output.raw(&text::session(&session))?;
    for kept in &turns {
        output.raw(&text::turn(kept))?;
    }
    if shown < session.turn_count() {
        output.note(&format!("{shown} of {} shown", text::count(session.turn_count(), "turn")))?;
    }
    Ok(())
}
