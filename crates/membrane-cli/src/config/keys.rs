//! Every key of ours: its name, what it is for, its default and its range, in the lines that read it. Ranges are
//! inclusive. `docs/configuration.md` holds the same as a table, which a test compares.
//!
//! Not here: which database there is (`database.rs`), and what cannot be set, such as how a commit is synced.

mod model;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use membrane::Limits;

use super::database::{self, Database};
use super::reader::{Key, Reader};
use super::settings::{
    CacheSettings, EchoSettings, LogFormat, LogLevel, LogSettings, Pooler, PostgresSettings, RunSettings,
    ServerSettings, Settings, SqliteSettings,
};
use super::urls::{CACHE_FORM, CacheUrl, POSTGRES_FORM};
use crate::failure::Failure;

/// Nothing that is kept may be larger: SQLite takes 1 GB in a row, and a text that is written as JSON grows.
const MAX_VALUE_BYTES: u64 = 512 * 1024 * 1024;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Reads all keys, in the order in which they are shown.
pub(super) fn read(database: Database, from: &mut Reader<'_>) -> Settings {
    let cache_mib = default_cache_mib(&database);
    Settings {
        database,
        server: server(from),
        limits: limits(from),
        runs: runs(from),
        echo: echo(from),
        sqlite: sqlite(from),
        postgres: postgres(from),
        cache: cache(cache_mib, from),
        model: model::read(from),
        log: log(from),
    }
}

fn server(from: &mut Reader<'_>) -> ServerSettings {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 8642));
    ServerSettings {
        addr: from.address(Key("chat.server.addr", "where the server listens"), local),
        max_body_bytes: from.size(
            Key("chat.server.max_body_bytes", "the largest body of a request"),
            33_554_432,
            1024..=1_073_741_824,
        ),
        max_streams: from.size(
            Key("chat.server.max_streams", "how many streams may be open at once"),
            10_000,
            1..=1_000_000,
        ),
        max_connections: from.size(
            Key("chat.server.max_connections", "how many connections may be open at once"),
            10_000,
            1..=1_000_000,
        ),
        header_timeout: from.millis(
            Key("chat.server.header_timeout_ms", "how long a request may take to send its head"),
            30_000,
            100..=600_000,
        ),
        body_timeout: from.millis(
            Key("chat.server.body_timeout_ms", "how long a request may take to send its body"),
            60_000,
            100..=HOUR_MS,
        ),
        write_timeout: from.millis(
            Key("chat.server.write_timeout_ms", "how long a client may take nothing of an answer"),
            60_000,
            100..=HOUR_MS,
        ),
        drain: from.millis(
            Key("chat.server.drain_ms", "how long answers under way may go on after the signal to stop"),
            30_000,
            0..=HOUR_MS,
        ),
        heartbeat: from.millis(
            Key("chat.server.heartbeat_ms", "how long a stream is silent before it sends a sign of life"),
            15_000,
            10..=600_000,
        ),
        cors_origins: from.origins(Key(
            "chat.server.cors_origins",
            "which pages of other origins may use the server from a browser",
        )),
    }
}

fn limits(from: &mut Reader<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        max_message_bytes: from.size(
            Key("chat.limits.max_message_bytes", "the longest message of a user"),
            default.max_message_bytes,
            1..=MAX_VALUE_BYTES,
        ),
        max_turn_bytes: from.size(
            Key("chat.limits.max_turn_bytes", "the largest turn with its answer and its tools"),
            default.max_turn_bytes,
            1..=MAX_VALUE_BYTES,
        ),
        max_name_bytes: from.size(
            Key("chat.limits.max_name_bytes", "the longest branch name, title, tag, comment and the like"),
            default.max_name_bytes,
            64..=1_048_576,
        ),
        max_metadata_bytes: from.size(
            Key("chat.limits.max_metadata_bytes", "the largest metadata of a session and text of a crystal"),
            default.max_metadata_bytes,
            2..=MAX_VALUE_BYTES,
        ),
        max_tags: from.size(
            Key("chat.limits.max_tags", "how many tags a session may have"),
            default.max_tags,
            0..=1_000_000,
        ),
    }
}

fn runs(from: &mut Reader<'_>) -> RunSettings {
    let runs = RunSettings {
        lease: from.millis(
            Key("chat.runs.lease_ms", "how long an answer under way belongs to a process that is silent"),
            30_000,
            100..=HOUR_MS,
        ),
        renew: from.millis(
            Key("chat.runs.renew_ms", "how often that process says that it lives; less than lease_ms"),
            10_000,
            10..=HOUR_MS,
        ),
        flush: from.millis(
            Key("chat.runs.flush_ms", "how long a piece of an answer may wait before it is written"),
            200,
            10..=60_000,
        ),
        keep_ended: from.millis(
            Key("chat.runs.keep_ended_ms", "how long an answer that ended can still be followed from memory"),
            60_000,
            0..=HOUR_MS,
        ),
        recover: from.millis(
            Key("chat.runs.recover_ms", "how often answers that lost their process are looked for"),
            10_000,
            100..=HOUR_MS,
        ),
    };
    // A lease that ran out before it was renewed would end answers that are under way.
    if runs.renew >= runs.lease {
        let with_origin =
            |key, value: Duration| format!("{key} ({}, {})", value.as_millis(), from.origin(key));
        let (renew, lease) =
            (with_origin("chat.runs.renew_ms", runs.renew), with_origin("chat.runs.lease_ms", runs.lease));
        from.refuse(Failure::usage(format!(
            "{renew} must be less than {lease}; lower the one or raise the other"
        )));
    }
    runs
}

fn echo(from: &mut Reader<'_>) -> EchoSettings {
    EchoSettings {
        delay: from.millis(Key("chat.echo.delay_ms", "how long echo waits before each piece"), 0, 0..=60_000),
        piece_chars: from.size(
            Key("chat.echo.piece_chars", "how many characters a piece of echo has"),
            16,
            1..=1_000_000,
        ),
    }
}

fn sqlite(from: &mut Reader<'_>) -> SqliteSettings {
    SqliteSettings {
        busy_timeout: from.millis(
            Key(
                "chat.sqlite.busy_timeout_ms",
                "how long a change waits for another process or a place in the queue",
            ),
            5000,
            1..=600_000,
        ),
        queue_len: from.size(
            Key("chat.sqlite.queue_len", "how many changes may wait for the writer"),
            1024,
            1..=1_000_000,
        ),
        max_batch: from.size(
            Key("chat.sqlite.max_batch", "how many changes share one commit at the most"),
            256,
            1..=100_000,
        ),
        readers: from.size(Key("chat.sqlite.readers", "how many threads read"), 2, 1..=64),
        cache_kib: from.small(
            Key("chat.sqlite.cache_kib", "page cache of the writer and of each reader, in KiB"),
            65_536,
            64..=16_777_216,
        ),
        checkpoint_pages: from.small(
            Key(
                "chat.sqlite.checkpoint_pages",
                "how many pages of 4 KiB the write-ahead log may hold before they move",
            ),
            1000,
            1..=10_000_000,
        ),
    }
}

fn postgres(from: &mut Reader<'_>) -> PostgresSettings {
    let settings = PostgresSettings {
        pooler: from.word(
            Key(
                "chat.postgres.pooler",
                "which kind of pooler, such as PgBouncer's, stands before the database",
            ),
            Pooler::None,
            &[("none", Pooler::None), ("session", Pooler::Session), ("transaction", Pooler::Transaction)],
        ),
        direct_url: from.url(
            Key("chat.postgres.direct_url", "the same database past the pooler, for what that cannot carry"),
            POSTGRES_FORM,
            database::parse_postgres,
        ),
        pool_size: from.size(
            Key("chat.postgres.pool_size", "how many connections this process has at the most"),
            16,
            1..=10_000,
        ),
        connect_timeout: from.millis(
            Key("chat.postgres.connect_timeout_ms", "how long making a connection may take"),
            3000,
            10..=600_000,
        ),
        timeout: from.millis(
            Key(
                "chat.postgres.timeout_ms",
                "how long a call waits for the database in all, before the answer is 503",
            ),
            5000,
            10..=600_000,
        ),
        queue_len: from.size(
            Key("chat.postgres.queue_len", "how many changes may wait for the writer"),
            1024,
            1..=1_000_000,
        ),
        max_batch: from.size(
            Key("chat.postgres.max_batch", "how many changes share one commit at the most"),
            256,
            1..=100_000,
        ),
    };
    if settings.direct_url.is_some() && settings.pooler == Pooler::None {
        let (pooler, url) = ("chat.postgres.pooler", "chat.postgres.direct_url");
        let place = from.origin(url).place();
        from.refuse(
            Failure::usage(format!(
                "{url} leads past a pooler, and {pooler} is none ({}); set that to session or transaction, or leave \
                 this out",
                from.origin(pooler)
            ))
            .at(&place),
        );
    }
    settings
}

/// Measured (`docs/performance.md`): what gains less than a fifth is off.
fn default_cache_mib(database: &Database) -> usize {
    match database {
        Database::Sqlite(_) | Database::Memory => 64,
        Database::Postgres(_) => 0,
    }
}

fn cache(default_mib: usize, from: &mut Reader<'_>) -> CacheSettings {
    CacheSettings {
        memory_mib: from.size(
            Key(
                "chat.cache.memory_mib",
                "how much of turns that were read stays in memory, in MiB; 0: nothing, the default on PostgreSQL",
            ),
            default_mib,
            0..=1_048_576,
        ),
        url: from.url(
            Key("chat.cache.url", "a cache that several servers share; none by default"),
            CACHE_FORM,
            CacheUrl::parse,
        ),
        timeout: from.millis(
            Key(
                "chat.cache.timeout_ms",
                "how long the shared cache is waited for before the database is asked",
            ),
            20,
            1..=10_000,
        ),
        lifetime: from.millis(
            Key("chat.cache.lifetime_ms", "how long a turn stays in the cache that nobody removed"),
            600_000,
            1000..=DAY_MS,
        ),
    }
}

fn log(from: &mut Reader<'_>) -> LogSettings {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    LogSettings {
        level: from.word(Key("chat.log.level", "how much is logged"), LogLevel::Info, &levels),
        format: from.word(
            Key("chat.log.format", "in which form"),
            LogFormat::Text,
            &[("text", LogFormat::Text)],
        ),
    }
}
