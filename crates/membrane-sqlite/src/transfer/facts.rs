//! The facts of a turn from its other columns.

use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Totals, TurnStatus};
use membrane_store::StoreError;
use membrane_store::transfer::Value;
use membrane_store::transfer::Value::{Int, Null, Text};

use crate::facts::Facts;

/// What stands in the column `facts` of a row of `turns`.
pub(super) fn of_row(row: &[Value]) -> Result<String, StoreError> {
    let name = || match row {
        [Int(segment), Int(position), ..] => format!("{segment}, {position}"),
        _ => "?".to_owned(),
    };
    let [
        Int(_),
        Int(_),
        Text(_),
        Text(status),
        Text(user),
        Text(assistant),
        observes,
        Int(order_at),
        Int(started_at),
        Int(completed_at),
        Int(_),
        Int(_),
        Int(_),
        Int(_),
        Int(succeeded),
        Int(failed),
        Int(tool_calls),
        Int(tokens),
        Int(chars),
        Int(code_blocks),
        tools,
        extra,
        Text(_),
        Text(_),
    ] = row
    else {
        return Err(StoreError::inconsistent("turns", name(), "it has not the columns of a turn"));
    };
    let bad = |error| StoreError::inconsistent("turns", name(), error);
    let status = TurnStatus::parse(status).map_err(bad)?;
    let facts = Facts {
        status,
        is_legacy: status == TurnStatus::Complete && *observes == Null,
        user_linearity: Linearity::parse(user).map_err(bad)?,
        assistant_linearity: Linearity::parse(assistant).map_err(bad)?,
        has_rare: *tools != Null || *extra != Null,
        order_at: Timestamp::from_micros(*order_at),
        started_at: Timestamp::from_micros(*started_at),
        completed_at: Timestamp::from_micros(*completed_at),
        sums: Totals {
            succeeded: *succeeded,
            failed: *failed,
            tool_calls: *tool_calls,
            tokens: *tokens,
            chars: *chars,
            code_blocks: *code_blocks,
        },
    };
    Ok(facts.encode())
}
