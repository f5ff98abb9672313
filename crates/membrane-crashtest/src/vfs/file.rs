//! One open file of the recording VFS: SQLite's view of it, and behind that the base VFS's own file.
//!
//! SQLite allocates `szOsFile` bytes for a file. The first [`BASE_OFFSET`] of them are a [`ShimFile`], the
//! rest belongs to the base VFS:
//!
//! ```text
//! | pMethods -> METHODS | handle -> Handle | the base VFS's sqlite3_file ... |
//! ```
//!
//! Safety of everything here: SQLite passes to a method only a file that `install` has completed, and
//! none after its `xClose`; buffers have the length that is passed along.
//!
//! Not here: opening and deleting, which are the VFS's, not a file's.

use std::ffi::{c_int, c_void};
use std::mem;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

use crate::recording::{Event, FileId, Tape};

/// Our part of a file. `header` comes first, because SQLite takes the whole for a `sqlite3_file`.
#[repr(C)]
struct ShimFile {
    header: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// Where the base VFS's file begins: after ours, at a multiple of 8 as SQLite aligns its own allocations.
pub(super) const BASE_OFFSET: usize = mem::size_of::<ShimFile>().next_multiple_of(8);

/// What we know of an open file. Owned by its `ShimFile` from `install` to `xClose`.
struct Handle {
    tape: Arc<Tape>,
    recorded: Option<Recorded>,
}

/// A file whose changes go to the tape.
struct Recorded {
    file: FileId,
    directory: PathBuf,
    /// Whether the next sync through this handle makes the directory safe too: the unix VFS syncs it once
    /// for each handle of a journal or WAL that was opened for creating.
    directory_sync_due: AtomicBool,
}

/// Version 2: with shared memory, which WAL needs, and without `xFetch`. SQLite then never maps the database
/// into memory, so that every change of it passes `xWrite`.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Promises of a disk that are handed on to SQLite. `POWERSAFE_OVERWRITE` (bytes beside a write are not
/// harmed) is what the default configuration claims and what the images keep: only bytes that were written
/// are ever lost or torn. It stays, so that the configuration that is shipped is the one that is tested.
/// Promises about atomic, ordered or appending writes are withheld, because the images break them.
const PROMISES_KEPT: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
    | ffi::SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN
    | ffi::SQLITE_IOCAP_IMMUTABLE
    | ffi::SQLITE_IOCAP_SUBPAGE_READ;

/// The base VFS's file behind `file`.
pub(super) unsafe fn base_of(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    file.cast::<u8>().add(BASE_OFFSET).cast()
}

/// Calls a method of the base file; one that the base does not have answers with `$missing`.
macro_rules! call_base {
    ($file:expr, $method:ident($($argument:expr),*), $missing:expr) => {{
        let base = base_of($file);
        match (*(*base).pMethods).$method {
            Some(method) => method(base, $($argument),*),
            None => $missing,
        }
    }};
}

/// Completes a file whose base file is open.
pub(super) unsafe fn install(
    file: *mut ffi::sqlite3_file,
    tape: Arc<Tape>,
    recorded: Option<(FileId, PathBuf)>,
    flags: c_int,
) {
    let journals = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    let directory_sync_due = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journals != 0;
    let recorded = recorded.map(|(file, directory)| Recorded {
        file,
        directory,
        directory_sync_due: AtomicBool::new(directory_sync_due),
    });
    let shim = file.cast::<ShimFile>();
    (*shim).handle = Box::into_raw(Box::new(Handle { tape, recorded }));
    (*shim).header.pMethods = &raw const METHODS;
}

/// Closes a base file whose opening failed half way. A base that left no methods needs no closing.
pub(super) unsafe fn close_base(base: *mut ffi::sqlite3_file) {
    let methods = (*base).pMethods;
    if !methods.is_null()
        && let Some(close) = (*methods).xClose
    {
        close(base);
    }
}

/// Everything in an open base file. Read through the base, because opening and closing the file a second
/// time would drop the process's locks on it. `None` if it cannot be read.
pub(super) unsafe fn read_whole(base: *mut ffi::sqlite3_file) -> Option<Vec<u8>> {
    let methods = &*(*base).pMethods;
    let mut n_bytes: ffi::sqlite3_int64 = 0;
    if methods.xFileSize?(base, &raw mut n_bytes) != ffi::SQLITE_OK {
        return None;
    }
    let mut content = vec![0_u8; usize::try_from(n_bytes).ok()?];
    let mut position = 0;
    for piece in content.chunks_mut(1 << 20) {
        let piece_bytes = c_int::try_from(piece.len()).ok()?;
        if methods.xRead?(base, piece.as_mut_ptr().cast(), piece_bytes, position) != ffi::SQLITE_OK {
            return None;
        }
        position += ffi::sqlite3_int64::from(piece_bytes);
    }
    Some(content)
}

unsafe fn handle_of<'handle>(file: *mut ffi::sqlite3_file) -> &'handle Handle {
    &*(*file.cast::<ShimFile>()).handle
}

impl Handle {
    /// Enters what `event` makes of the file, if the file is recorded and the base has succeeded; a failed
    /// call is a gap, because nobody knows how much of it the disk has done.
    fn enter_outcome(&self, what: &str, code: c_int, event: impl FnOnce(FileId) -> Event) {
        let Some(recorded) = &self.recorded else { return };
        if code == ffi::SQLITE_OK {
            self.tape.enter(event(recorded.file));
        } else {
            self.tape.enter_gap(format!("{what} failed with code {code}"));
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = call_base!(file, xClose(), ffi::SQLITE_OK);
    let shim = file.cast::<ShimFile>();
    drop(Box::from_raw((*shim).handle));
    (*shim).handle = std::ptr::null_mut();
    (*shim).header.pMethods = std::ptr::null();
    code
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    n_bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let code = call_base!(file, xWrite(buffer, n_bytes, offset), ffi::SQLITE_IOERR_WRITE);
    handle_of(file).enter_outcome("a write", code, |file| Event::Written {
        file,
        offset: offset.unsigned_abs(),
        bytes: match usize::try_from(n_bytes) {
            Ok(n_bytes) if n_bytes > 0 => slice::from_raw_parts(buffer.cast::<u8>(), n_bytes).to_vec(),
            _ => Vec::new(),
        },
    });
    code
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, n_bytes: ffi::sqlite3_int64) -> c_int {
    let code = call_base!(file, xTruncate(n_bytes), ffi::SQLITE_IOERR_TRUNCATE);
    handle_of(file).enter_outcome("a truncation", code, |file| Event::Truncated {
        file,
        n_bytes: n_bytes.unsigned_abs(),
    });
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let handle = handle_of(file);
    let covers = handle.tape.position();
    let code = call_base!(file, xSync(flags), ffi::SQLITE_IOERR_FSYNC);
    handle.enter_outcome("a sync", code, |file| Event::Synced { file, covers });
    if code == ffi::SQLITE_OK
        && let Some(recorded) = &handle.recorded
        && recorded.directory_sync_due.swap(false, Ordering::Relaxed)
    {
        let directory = recorded.directory.clone();
        handle.tape.enter(Event::DirectorySynced { directory, covers });
    }
    code
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // A chunk size would make the base VFS lengthen files by itself, unseen.
    if operation == ffi::SQLITE_FCNTL_CHUNK_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    call_base!(file, xFileControl(operation, argument), ffi::SQLITE_NOTFOUND)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    call_base!(file, xDeviceCharacteristics(), 0) & PROMISES_KEPT
}

// What follows only passes calls on.

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    n_bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    call_base!(file, xRead(buffer, n_bytes, offset), ffi::SQLITE_IOERR_READ)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, n_bytes: *mut ffi::sqlite3_int64) -> c_int {
    call_base!(file, xFileSize(n_bytes), ffi::SQLITE_IOERR_FSTAT)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    call_base!(file, xLock(level), ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    call_base!(file, xUnlock(level), ffi::SQLITE_IOERR_UNLOCK)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    call_base!(file, xCheckReservedLock(answer), ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    call_base!(file, xSectorSize(), 0)
}

/// Whether the base file has the shared memory methods at all.
unsafe fn base_shares_memory(file: *mut ffi::sqlite3_file) -> bool {
    (*(*base_of(file)).pMethods).iVersion >= 2
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    region_bytes: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    if !base_shares_memory(file) {
        return ffi::SQLITE_IOERR_SHMMAP;
    }
    call_base!(file, xShmMap(region, region_bytes, extend, memory), ffi::SQLITE_IOERR_SHMMAP)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    if !base_shares_memory(file) {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    call_base!(file, xShmLock(offset, n, flags), ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    if base_shares_memory(file) {
        call_base!(file, xShmBarrier(), ());
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    if !base_shares_memory(file) {
        return ffi::SQLITE_OK;
    }
    call_base!(file, xShmUnmap(delete), ffi::SQLITE_OK)
}
