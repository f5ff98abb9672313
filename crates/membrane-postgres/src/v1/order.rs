//! In which order old tables are read: parents before their children, turns as they followed each other.
//!
//! Kept in tables of the schema that the old ones are kept in, gone before the transaction ends: so that a million rows need
//! little memory, and no row is looked for twice. A row is known by where it stands (`ctid`), which nobody else can change
//! while the old tables are locked.

use membrane_store::StoreError;

use super::cells::Kind;
use super::shape::Shape;
use crate::db::Db;
use crate::error::Doing;

const SORTING: &str = "put the old rows in order";

/// The tables of the order. `bytes` is about how much a row takes; `digest` tells a turn from others, its place aside.
const TABLES: [(&str, &str); 6] = [
    ("order_ids", "id text COLLATE \"C\" PRIMARY KEY, parent text COLLATE \"C\", at tid NOT NULL"),
    ("order_sessions", "seq bigint PRIMARY KEY, at tid NOT NULL"),
    (
        "order_turns",
        "seq bigint PRIMARY KEY, session text COLLATE \"C\" NOT NULL, at tid NOT NULL, bytes bigint NOT NULL, digest bytea NOT NULL",
    ),
    ("order_checkpoints", "seq bigint PRIMARY KEY, session text COLLATE \"C\" NOT NULL, at tid NOT NULL"),
    ("order_crystals", "seq bigint PRIMARY KEY, session text COLLATE \"C\" NOT NULL, at tid NOT NULL"),
    (
        "order_rest",
        "seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL, at tid NOT NULL",
    ),
];

/// What of each old table a session leads to.
const LED_TO: [(&str, &str); 4] = [
    ("chat_sessions", "order_sessions"),
    ("chat_turns", "order_turns"),
    ("chat_crystals", "order_crystals"),
    ("chat_checkpoints", "order_checkpoints"),
];

/// Makes the tables and fills them, in the schema `place`, quoted, where the old tables are.
pub(super) async fn prepare(db: Db<'_>, shape: &Shape, place: &str) -> Result<(), StoreError> {
    let run = async |sql: String| db.batch(&sql).await.doing(SORTING);
    for (name, columns) in TABLES {
        run(format!("CREATE UNLOGGED TABLE {place}.{name} ({columns})")).await?;
    }
    if shape.has("chat_sessions") {
        let (id, parent) = (shape.text("chat_sessions", "id"), shape.text("chat_sessions", "parent_id"));
        // The first one of several.
        run(format!(
            "INSERT INTO {place}.order_ids (id, parent, at) \
             SELECT DISTINCT ON ({id}) {id}, nullif({parent}, ''), t.ctid FROM {place}.chat_sessions t \
             WHERE {id} <> '' ORDER BY {id}, t.ctid"
        ))
        .await?;
    }
    run(generations(place)).await?;
    if shape.has("chat_turns") {
        run(turns(shape, place)).await?;
    }
    if shape.has("chat_checkpoints") {
        let (id, session) =
            (shape.text("chat_checkpoints", "id"), shape.text("chat_checkpoints", "session_id"));
        let created = ordered(shape, "chat_checkpoints", "created_at");
        run(format!(
            "INSERT INTO {place}.order_checkpoints (seq, session, at) \
             SELECT row_number() OVER (ORDER BY session, created NULLS FIRST, at), session, at FROM ( \
                 SELECT DISTINCT ON ({id}) {session} AS session, {created} AS created, t.ctid AS at \
                 FROM {place}.chat_checkpoints t WHERE {id} <> '' ORDER BY {id}, t.ctid) AS first \
             WHERE EXISTS (SELECT 1 FROM {place}.order_ids i WHERE i.id = first.session)"
        ))
        .await?;
    }
    if shape.has("chat_crystals") {
        let session = shape.text("chat_crystals", "session_id");
        run(format!(
            "INSERT INTO {place}.order_crystals (seq, session, at) \
             SELECT row_number() OVER (ORDER BY session), session, at FROM ( \
                 SELECT DISTINCT ON ({session}) {session} AS session, t.ctid AS at \
                 FROM {place}.chat_crystals t WHERE {session} IS NOT NULL ORDER BY {session}, t.ctid) AS first \
             WHERE EXISTS (SELECT 1 FROM {place}.order_ids i WHERE i.id = first.session)"
        ))
        .await?;
    }
    for (table, order) in LED_TO.into_iter().filter(|(table, _)| shape.has(table)) {
        run(format!(
            "INSERT INTO {place}.order_rest (source, at) SELECT '{table}', t.ctid FROM {place}.{table} t \
             LEFT JOIN {place}.{order} o ON o.at = t.ctid WHERE o.at IS NULL ORDER BY t.ctid"
        ))
        .await?;
    }
    run(format!(
        "CREATE INDEX ON {place}.order_turns (session, seq); CREATE INDEX ON {place}.order_checkpoints (session, seq); \
         CREATE INDEX ON {place}.order_crystals (session, seq)"
    ))
    .await?;
    for (name, _) in TABLES {
        run(format!("ANALYZE {place}.{name}")).await?;
    }
    Ok(())
}

/// Removes them.
pub(super) async fn clear(db: Db<'_>, place: &str) -> Result<(), StoreError> {
    let names: Vec<_> = TABLES.iter().map(|(name, _)| format!("{place}.{name}")).collect();
    db.batch(&format!("DROP TABLE {}", names.join(", "))).await.doing("clear up after the old rows")
}

/// Sessions by generation, brothers together; those of a circle, which no root leads to, at the end.
fn generations(place: &str) -> String {
    format!(
        "CREATE INDEX ON {place}.order_ids USING hash (parent); ANALYZE {place}.order_ids; \
         INSERT INTO {place}.order_sessions (seq, at) \
             WITH RECURSIVE tree (id, depth) AS ( \
                 SELECT s.id, 0 FROM {place}.order_ids s WHERE s.parent IS NULL OR s.parent = s.id \
                     OR NOT EXISTS (SELECT 1 FROM {place}.order_ids p WHERE p.id = s.parent) \
                 UNION ALL \
                 SELECT s.id, tree.depth + 1 FROM tree JOIN {place}.order_ids s ON s.parent = tree.id AND s.id <> s.parent) \
             SELECT row_number() OVER (ORDER BY tree.depth NULLS LAST, \
                 CASE WHEN tree.depth IS NOT NULL THEN i.parent END NULLS FIRST, i.at), i.at \
             FROM {place}.order_ids i LEFT JOIN tree ON tree.id = i.id"
    )
}

/// Turns by session, number and start.
fn turns(shape: &Shape, place: &str) -> String {
    let table = "chat_turns";
    let session = shape.text(table, "session_id");
    let number = shape.column(table, "turn_number");
    let number = number.map_or("NULL".to_owned(), |(column, kind)| kind.ordered_number(&column));
    let id =
        shape.column(table, "id").map_or("NULL".to_owned(), |(column, kind)| kind.ordered_number(&column));
    let start = ordered(shape, table, "started_at");
    let length = |name| format!("coalesce(octet_length({}), 0)", shape.text(table, name));
    // kgents wrote the end of a turn anew at each save.
    let is_compared = |name: &str| {
        !["id", "session_id", "turn_number", "completed_at"].iter().any(|key| name.eq_ignore_ascii_case(key))
    };
    let compared: Vec<_> = shape
        .columns(table)
        .iter()
        .filter(|name| is_compared(name))
        .map(|name| shape.text(table, name))
        .collect();
    format!(
        "INSERT INTO {place}.order_turns (seq, session, at, bytes, digest) \
         SELECT row_number() OVER (ORDER BY session, number NULLS LAST, start NULLS FIRST, id NULLS LAST, at), \
             session, at, bytes, digest FROM ( \
             SELECT {session} AS session, {number} AS number, {start} AS start, {id} AS id, t.ctid AS at, \
                 {}::bigint + {} AS bytes, sha256(convert_to(ROW({})::text, 'UTF8')) AS digest \
             FROM {place}.chat_turns t) AS read \
         WHERE EXISTS (SELECT 1 FROM {place}.order_ids i WHERE i.id = read.session)",
        length("user_message"),
        length("assistant_response"),
        compared.join(", ")
    )
}

fn ordered(shape: &Shape, table: &str, name: &str) -> String {
    let column = shape.column(table, name);
    column.map_or("NULL::text".to_owned(), |(column, kind): (String, Kind)| kind.ordered(&column))
}
