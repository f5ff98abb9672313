//! The recording VFS: passes every call on to SQLite's default one and tells the tape what was changed.
//!
//! Shared memory (`-shm`) is passed through unrecorded: SQLite rebuilds it from the WAL after a power loss
//! and never relies on the file. Temporary files are passed through as well, because none survives.
//!
//! Not here: judgement of any kind. What a sync makes safe is said in `recording`, what survives in `image`.

#![expect(unsafe_code, reason = "a VFS is a table of C functions that work on memory which SQLite owns")]
#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "every function here is a C callback whose whole body works on SQLite's pointers; the contract \
              is stated once per file instead of once per line"
)]

mod file;

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::ffi;

use crate::recording::{Event, RecordingError, Tape};

/// What the VFS's `pAppData` points at. Never freed: SQLite may call the VFS until the process ends.
struct Shim {
    base: *mut ffi::sqlite3_vfs,
    tape: Arc<Tape>,
}

/// Registers a recording VFS under `name`.
pub(crate) fn register(name: &str, tape: &Arc<Tape>) -> Result<(), RecordingError> {
    // SQLite has no call that registers only if the name is free.
    static REGISTRATION: Mutex<()> = Mutex::new(());
    let _one_at_a_time = REGISTRATION.lock().unwrap_or_else(PoisonError::into_inner);

    let c_name = CString::new(name).map_err(|_| RecordingError::NameUnusable { name: name.to_owned() })?;
    // SAFETY: `c_name` ends with a NUL byte and outlives the call.
    if !unsafe { ffi::sqlite3_vfs_find(c_name.as_ptr()) }.is_null() {
        return Err(RecordingError::NameTaken { name: name.to_owned() });
    }
    // SAFETY: a null name asks for the default VFS; the call initialises SQLite if nobody did before.
    let base = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    if base.is_null() {
        return Err(RecordingError::NoDefault);
    }
    // SAFETY: `base` was just returned by SQLite, and a default VFS stays registered and unchanged.
    let (base_file_bytes, longest_path) = unsafe { ((*base).szOsFile, (*base).mxPathname) };
    let own_bytes = c_int::try_from(file::BASE_OFFSET).map_err(|_| RecordingError::NoDefault)?;
    let file_bytes = own_bytes.checked_add(base_file_bytes).ok_or(RecordingError::NoDefault)?;

    let shim = Box::new(Shim { base, tape: Arc::clone(tape) });
    let vfs = Box::new(ffi::sqlite3_vfs {
        // Version 2 has the clock in 64 bits; version 3 only adds hooks for replacing system calls.
        iVersion: 2,
        szOsFile: file_bytes,
        mxPathname: longest_path,
        pNext: ptr::null_mut(),
        zName: c_name.into_raw(),
        pAppData: Box::into_raw(shim).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: Some(dl_sym),
        xDlClose: Some(dl_close),
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    // SAFETY: the table, its name and its data are leaked, so they live as long as SQLite may use them; the
    // functions follow the contract of a version 2 VFS.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(vfs), 0) };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(RecordingError::Refused { name: name.to_owned(), code }) }
}

/// The data behind a VFS that [`register`] made.
///
/// # Safety
/// `vfs` is such a VFS. SQLite passes no other to the callbacks of this file.
unsafe fn shim_of<'shim>(vfs: *mut ffi::sqlite3_vfs) -> &'shim Shim {
    &*(*vfs).pAppData.cast::<Shim>()
}

/// The path in a C string of SQLite's.
///
/// # Safety
/// `path` is not null, ends with a NUL byte, and lives as long as the result is used.
unsafe fn path_of<'path>(path: *const c_char) -> &'path Path {
    Path::new(OsStr::from_bytes(CStr::from_ptr(path).to_bytes()))
}

/// Calls a method of the base VFS; a VFS without that method answers with `$missing`.
macro_rules! call_base {
    ($vfs:expr, $method:ident($($argument:expr),*), $missing:expr) => {{
        let base = shim_of($vfs).base;
        match (*base).$method {
            Some(method) => method(base, $($argument),*),
            None => $missing,
        }
    }};
}

// The callbacks. For each of them SQLite guarantees that `vfs` is the registered table, that strings end with
// a NUL byte, and that buffers have the length that is passed along.

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let shim = shim_of(vfs);
    // A file whose methods are null is one that SQLite does not close: right until everything has worked.
    (*file).pMethods = ptr::null();
    let recorded = !path.is_null()
        && flags & ffi::SQLITE_OPEN_DELETEONCLOSE == 0
        && flags
            & (ffi::SQLITE_OPEN_MAIN_DB
                | ffi::SQLITE_OPEN_WAL
                | ffi::SQLITE_OPEN_MAIN_JOURNAL
                | ffi::SQLITE_OPEN_SUPER_JOURNAL)
            != 0;
    let name = if recorded { shim.tape.name_of(path_of(path)) } else { None };

    let mut names = shim.tape.lock_names();
    // Not SQLite's own `xAccess`: that one calls an empty file absent.
    let existed = name.is_some() && path_of(path).exists();
    let base_file = file::base_of(file);
    (*base_file).pMethods = ptr::null();
    let code = call_base!(vfs, xOpen(path, base_file, flags, out_flags), ffi::SQLITE_CANTOPEN);
    if code != ffi::SQLITE_OK {
        file::close_base(base_file);
        return code;
    }
    let recorded_file = name.and_then(|name| {
        let file = shim.tape.enter_opened(&mut names, &name, existed, || file::read_whole(base_file))?;
        let directory = name.parent().map(Path::to_owned).unwrap_or_default();
        Some((file, directory))
    });
    file::install(file, Arc::clone(&shim.tape), recorded_file, flags);
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, path: *const c_char, sync_directory: c_int) -> c_int {
    let tape = &shim_of(vfs).tape;
    let mut names = tape.lock_names();
    let code = call_base!(vfs, xDelete(path, sync_directory), ffi::SQLITE_IOERR_DELETE);
    if code == ffi::SQLITE_OK {
        if let Some(name) = tape.name_of(path_of(path)) {
            let deleted_at = tape.enter_deleted(&mut names, &name);
            if sync_directory != 0 {
                // Names are locked, so nothing was created or deleted between the removal and the sync.
                let directory = name.parent().map(Path::to_owned).unwrap_or_default();
                tape.enter(Event::DirectorySynced { directory, covers: deleted_at + 1 });
            }
        }
    } else if code != ffi::SQLITE_IOERR_DELETE_NOENT {
        tape.enter_gap(format!("deleting {} failed with code {code}", path_of(path).display()));
    }
    code
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    answer: *mut c_int,
) -> c_int {
    call_base!(vfs, xAccess(path, flags, answer), ffi::SQLITE_IOERR_ACCESS)
}

unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    n_bytes: c_int,
    full: *mut c_char,
) -> c_int {
    call_base!(vfs, xFullPathname(path, n_bytes, full), ffi::SQLITE_CANTOPEN)
}

unsafe extern "C" fn dl_open(vfs: *mut ffi::sqlite3_vfs, path: *const c_char) -> *mut c_void {
    call_base!(vfs, xDlOpen(path), ptr::null_mut())
}

unsafe extern "C" fn dl_error(vfs: *mut ffi::sqlite3_vfs, n_bytes: c_int, message: *mut c_char) {
    call_base!(vfs, xDlError(n_bytes, message), ());
}

/// A symbol of a loaded library, typed as SQLite's header has it.
type Symbol = Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)>;

unsafe extern "C" fn dl_sym(vfs: *mut ffi::sqlite3_vfs, library: *mut c_void, name: *const c_char) -> Symbol {
    call_base!(vfs, xDlSym(library, name), None)
}

unsafe extern "C" fn dl_close(vfs: *mut ffi::sqlite3_vfs, library: *mut c_void) {
    call_base!(vfs, xDlClose(library), ());
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, n_bytes: c_int, out: *mut c_char) -> c_int {
    call_base!(vfs, xRandomness(n_bytes, out), 0)
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    call_base!(vfs, xSleep(microseconds), 0)
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    call_base!(vfs, xCurrentTime(days), ffi::SQLITE_ERROR)
}

unsafe extern "C" fn get_last_error(
    vfs: *mut ffi::sqlite3_vfs,
    n_bytes: c_int,
    message: *mut c_char,
) -> c_int {
    call_base!(vfs, xGetLastError(n_bytes, message), 0)
}

unsafe extern "C" fn current_time_int64(
    vfs: *mut ffi::sqlite3_vfs,
    milliseconds: *mut ffi::sqlite3_int64,
) -> c_int {
    if (*shim_of(vfs).base).iVersion < 2 {
        return ffi::SQLITE_ERROR;
    }
    call_base!(vfs, xCurrentTimeInt64(milliseconds), ffi::SQLITE_ERROR)
}
