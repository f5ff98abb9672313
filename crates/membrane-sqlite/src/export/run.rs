//! An export from its beginning to its end: reading through the store, writing on a thread for blocking work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use membrane_core::checkpoint::Checkpoint;
use membrane_core::evidence::LegacySet;
use membrane_core::history::Cut;
use membrane_core::ids::SessionId;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_store::{Store, StoreError, Subject};

use super::context::Context;
use super::error::ExportError;
use super::file::{OutFile, Started};
use super::pages::Pages;
use super::plan;
use super::report::{ExportOptions, ExportReport, LeftOut, Selection};
use super::rows::Walk;
use super::times::LocalTimes;

/// How many sessions are listed at a time.
const PAGE: u32 = 500;

/// How many values of older files are read at a time.
const OLD_ROWS: u32 = 100;

/// By how much the clocks of those who write may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Writes sessions as a plain V1 file of kgents at `out`.
///
/// Each session is exported as of one moment, with all its turns, its checkpoints and its crystal. Sessions that are
/// made or deleted meanwhile may be in the file or not. Nothing is at `out` before the file is whole, on the disk, and
/// verified; if it fails, nothing is left behind.
///
/// # Errors
/// [`ExportError`].
///
/// # Cancel safety
/// Dropping the future leaves nothing behind; unless all was written and only the name was missing.
pub async fn export_v1(
    store: &dyn Store,
    out: &Path,
    options: ExportOptions,
) -> Result<ExportReport, ExportError> {
    let ExportOptions { naive_zone, selection } = options;
    let desk = Desk::open(out.to_owned(), LocalTimes::in_zone(naive_zone)).await?;
    let mut export = Export { store, desk, left_out: LeftOut::default() };
    export.list(&selection).await?;
    let mut after = 0;
    loop {
        let page = export.desk.work(move |file| plan::next(file.conn(), after, PAGE)).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, id) in page {
            export.session(&id).await?;
        }
    }
    if selection == Selection::All {
        export.left_out.old_rows += export.count_old_rows(None).await?;
    }
    let left_out = export.left_out;
    let (written, times_with_offset, bytes) = export.desk.finish().await?;
    Ok(ExportReport {
        sessions: written.sessions,
        turns: written.turns,
        checkpoints: written.checkpoints,
        crystals: written.crystals,
        bytes,
        times_with_offset,
        left_out,
    })
}

/// Where the file is written: on threads for blocking work, one call after the other.
struct Desk {
    file: Option<Box<OutFile>>,
    out: PathBuf,
}

impl Desk {
    async fn open(out: PathBuf, times: LocalTimes) -> Result<Self, ExportError> {
        let path = out.clone();
        let file = blocking(&out, move || OutFile::create(&path, times)).await??;
        Ok(Self { file: Some(Box::new(file)), out })
    }

    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut OutFile) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ExportError> {
        let mut file = self.file.take().ok_or_else(|| ExportError::write(&self.out, StoreError::Closed))?;
        let (file, outcome) = blocking(&self.out, move || {
            let outcome = work(&mut file);
            (file, outcome)
        })
        .await?;
        self.file = Some(file);
        outcome.map_err(|error| ExportError::write(&self.out, error))
    }

    async fn finish(self) -> Result<(super::verify::Written, u64, u64), ExportError> {
        let file = self.file.ok_or_else(|| ExportError::write(&self.out, StoreError::Closed))?;
        blocking(&self.out, move || file.finish()).await?
    }
}

async fn blocking<T: Send + 'static>(
    out: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExportError> {
    // It fails only when the runtime is going, or a programming error panicked.
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ExportError::write(out, StoreError::Backend { doing: "write the export", source: Box::new(error) })
    })
}

struct Export<'a> {
    store: &'a dyn Store,
    desk: Desk,
    left_out: LeftOut,
}

impl Export<'_> {
    /// Lists what is to be exported.
    async fn list(&mut self, selection: &Selection) -> Result<(), ExportError> {
        match selection {
            Selection::All => self.list_all(&SessionFilter::default()).await?,
            Selection::Project(project) => {
                let filter = SessionFilter { project_id: Some(project.clone()), branch_name: None };
                self.list_all(&filter).await?;
            }
            Selection::Sessions(ids) => {
                for id in ids {
                    let session = self.store.find_session(id).await.map_err(ExportError::Read)?;
                    let missing = || ExportError::Read(StoreError::not_found(Subject::Session, id));
                    let session = session.ok_or_else(missing)?;
                    self.desk.work(move |file| plan::add(file.conn(), &[session])).await?;
                }
            }
        }
        self.desk.work(|file| plan::order(file.conn())).await
    }

    /// Lists all sessions. The list is in the order of activity, so one that is used meanwhile moves to its front and
    /// may be missed; therefore the front is listed again until nothing more had moved there.
    async fn list_all(&mut self, filter: &SessionFilter) -> Result<(), ExportError> {
        let mut down_to = None;
        loop {
            let mut request = PageRequest::first(PAGE);
            let mut newest = None;
            let mut has_missed = false;
            loop {
                let page = self.store.list_sessions(filter, &request).await.map_err(ExportError::Read)?;
                let oldest = page.sessions.last().map(|session| session.last_active);
                newest = newest.or(page.sessions.first().map(|session| session.last_active));
                let created: Vec<_> = page.sessions.iter().map(|session| session.created_at).collect();
                let added = self.desk.work(move |file| plan::add(file.conn(), &page.sessions)).await?;
                has_missed |= added
                    .iter()
                    .zip(created)
                    .any(|(is_new, created_at)| *is_new && down_to.is_some_and(|start| created_at <= start));
                match page.next {
                    Some(next) if down_to.is_none() || oldest >= down_to => request.after = Some(next),
                    _ => break,
                }
            }
            if down_to.is_some() && !has_missed {
                return Ok(());
            }
            let Some(newest) = newest else { return Ok(()) };
            down_to = Some(newest.minus(SKEW));
        }
    }

    /// Exports a session with everything that is its own.
    async fn session(&mut self, id: &SessionId) -> Result<(), ExportError> {
        loop {
            let Some(session) = self.find(id).await? else {
                self.left_out.deleted_meanwhile += 1;
                return Ok(());
            };
            let Some(legacy) = self.legacy(session.cut).await? else {
                self.refuse_if_unchanged(&session, 0).await?;
                continue;
            };
            let before = self.left_out;
            let (started, is_whole) = self.turns(&session, legacy).await?;
            if is_whole {
                self.left_out.runs += u64::from(session.state != State::Idle);
                self.left_out.parents += u64::from(started.lost_parent);
                self.checkpoints(&session).await?;
                self.crystal(&session.id).await?;
                self.left_out.old_rows += self.count_old_rows(Some(&session.id)).await?;
                // Were it deleted by now, some of what is its own could be missing.
                if self.find(id).await?.is_some() {
                    return Ok(());
                }
            }
            self.left_out = before;
            self.desk.work(move |file| file.take_back(&started)).await?;
        }
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, ExportError> {
        self.store.find_session(id).await.map_err(ExportError::Read)
    }

    /// The legacy observations of a cut; `None` if it is gone.
    async fn legacy(&self, cut: Cut) -> Result<Option<Vec<LegacySet>>, ExportError> {
        let history = self.store.find_history(cut.history).await.map_err(ExportError::Read)?;
        Ok(history.map(|history| history.legacy))
    }

    /// Writes a session and its turns. Says whether these are all: if not, it is deleted, or points elsewhere by now.
    async fn turns(
        &mut self,
        session: &Session,
        legacy: Vec<LegacySet>,
    ) -> Result<(Started, bool), ExportError> {
        let mut pages = Pages::of(session.cut, Some(session.totals.chars));
        let mut turns = pages.next(self.store).await.map_err(ExportError::Read)?;
        let row = (session.clone(), legacy.clone());
        let mut started = self.desk.work(move |file| file.start_session(row.0, row.1)).await?;
        while !turns.is_empty() {
            started =
                self.desk.work(move |file| file.write_turns(&mut started, &turns).map(|()| started)).await?;
            turns = pages.next(self.store).await.map_err(ExportError::Read)?;
        }
        if pages.n_seen() < session.turn_count() {
            self.refuse_if_unchanged(session, pages.n_seen()).await?;
            return Ok((started, false));
        }
        let ended = move |file: &mut OutFile| file.end_session(&started, legacy).map(|()| started);
        Ok((self.desk.work(ended).await?, true))
    }

    /// Turns of a session are missing: an error if it still points there.
    async fn refuse_if_unchanged(&self, session: &Session, number: u64) -> Result<(), ExportError> {
        let now = self.store.find_session(&session.id).await.map_err(ExportError::Read)?;
        match now {
            Some(now) if now.cut == session.cut => Err(ExportError::Read(StoreError::inconsistent(
                "chat_sessions",
                &session.id,
                format_args!("turn {number} of {} is not there", session.turn_count()),
            ))),
            _ => Ok(()),
        }
    }

    async fn checkpoints(&mut self, session: &Session) -> Result<(), ExportError> {
        let mut checkpoints = self.store.list_checkpoints(&session.id).await.map_err(ExportError::Read)?;
        checkpoints.reverse();
        for checkpoint in checkpoints {
            self.checkpoint(session, checkpoint).await?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self, session: &Session, checkpoint: Checkpoint) -> Result<(), ExportError> {
        let legacy = self.legacy(checkpoint.cut).await?;
        let mut context = Context::of(&checkpoint, Walk::with(legacy.as_deref().unwrap_or_default()));
        let mut pages = Pages::of(checkpoint.cut, None);
        while !context.is_huge() {
            let turns = pages.next(self.store).await.map_err(ExportError::Read)?;
            if turns.is_empty() {
                break;
            }
            context =
                self.desk.work(move |file| file.push_turns(&mut context, &turns).map(|()| context)).await?;
        }
        if context.is_huge() {
            self.left_out.huge_checkpoints += 1;
            return Ok(());
        }
        let is_whole = legacy.is_some() && pages.n_seen() == checkpoint.cut.turn_count;
        if !is_whole {
            let found = self.store.find_checkpoint(&session.id, &checkpoint.id).await;
            match found.map_err(ExportError::Read)? {
                // It was deleted meanwhile, and its turns with it.
                None => return Ok(()),
                Some(checkpoint) if !checkpoint.kind.is_automatic() || legacy.is_none() => {
                    return Err(ExportError::Read(StoreError::inconsistent(
                        "chat_checkpoints",
                        &checkpoint.id,
                        format_args!("turn {} of {} is not there", pages.n_seen(), checkpoint.cut.turn_count),
                    )));
                }
                Some(_) => self.left_out.cut_checkpoints += 1,
            }
        }
        let session = session.clone();
        self.desk.work(move |file| file.write_checkpoint(&session, checkpoint, context)).await
    }

    async fn crystal(&mut self, id: &SessionId) -> Result<(), ExportError> {
        let Some(crystal) = self.store.find_crystal(id).await.map_err(ExportError::Read)? else {
            return Ok(());
        };
        self.desk.work(move |file| file.write_crystal(&crystal)).await
    }

    async fn count_old_rows(&self, session: Option<&SessionId>) -> Result<u64, ExportError> {
        let mut n_rows = 0;
        loop {
            let rows =
                self.store.list_old_rows(session, n_rows, OLD_ROWS).await.map_err(ExportError::Read)?;
            n_rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
            if rows.len() < usize::try_from(OLD_ROWS).unwrap_or(usize::MAX) {
                return Ok(n_rows);
            }
        }
    }
}
