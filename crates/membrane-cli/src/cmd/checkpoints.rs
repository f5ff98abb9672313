//! `checkpoint` and `restore`.

use membrane::CheckpointId;
use membrane_http::wire;
use serde_json::json;

use super::{Keep, not_found, session_id};
use crate::args::{Checkpoint, Restore};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn checkpoint(keep: &Keep, args: Checkpoint, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(&args.id)?;
    if args.list {
        let list = keep.chat.list_checkpoints(&id).await?;
        if output.is_json() {
            let checkpoints = list.iter().map(wire::checkpoint).collect();
            return output.document(&wire::CheckpointList { checkpoints });
        }
        return output.raw(&text::checkpoints(&list));
    }
    if let Some(text) = args.delete {
        let checkpoint = CheckpointId::parse(&text)?;
        keep.chat.delete_checkpoint(&id, &checkpoint).await?;
        if output.is_json() {
            return output.document(&json!({"deleted": checkpoint.as_str()}));
        }
        return output.line(&format!("deleted {}", text::printable(checkpoint.as_str())));
    }
    let left = keep.chat.checkpoint(&id, args.name, None).await?;
    if output.is_json() {
        let session = keep.chat.find_session(&id).await?.ok_or_else(|| not_found(&id))?;
        let last = left.cut.turn_count.saturating_sub(1)..left.cut.turn_count;
        let last = keep.store.load_turns(left.cut, last).await?;
        return output.document(&wire::made_checkpoint(&left, &session, last.first()));
    }
    output.line(left.id.as_str())
}

pub(super) async fn restore(keep: &Keep, args: Restore, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(&args.what.to_string_lossy())?;
    let checkpoint = CheckpointId::parse(&args.checkpoint.unwrap_or_default())?;
    let restored = keep.chat.restore(&id, &checkpoint, None).await?;
    if output.is_json() {
        let session = wire::session(&restored.session, None);
        return output.document(&json!({"session": session, "missing": restored.missing}));
    }
    let turns = text::count(restored.session.turn_count(), "turn");
    output.line(&format!("{turns} in {}", text::printable(id.as_str())))?;
    if restored.missing > 0 {
        let missing = text::count(restored.missing, "turn");
        output.note(&format!("{missing} could not be brought back: they belonged to a deleted session"))?;
    }
    Ok(())
}
