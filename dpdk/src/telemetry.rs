//! Commands of our own on DPDK's telemetry socket, beside those that DPDK and its drivers answer.
//!
//! DPDK knows one function for a command and no way to take it back, so all of ours share one, which looks up by name who answers; who
//! has [stopped](Served) answers nothing.

use core::ffi::{CStr, c_char, c_int};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::check;
use crate::{Eal, Error, sys};

/// What a command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An object. Names have letters, digits, `_` and `/`; of more than 256 the rest is left out.
    Members(Vec<(String, Value)>),
    /// A list of texts; of more than 512 the rest is left out.
    Lines(Vec<String>),
}

/// A member's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count.
    Number(u64),
    /// Cut off where DPDK has no more room: 127 bytes.
    Text(String),
}

/// Who answers: given what stands behind the comma of the command, if anything does. Called on a thread of DPDK's, of several
/// at once.
pub type Answerer = Arc<dyn Fn(Option<&str>) -> Option<Answer> + Send + Sync>;

/// Every command that DPDK knows as ours, and who answers it now.
static ANSWERERS: Mutex<BTreeMap<CString, Option<Answerer>>> = Mutex::new(BTreeMap::new());

fn answerers() -> MutexGuard<'static, BTreeMap<CString, Option<Answerer>>> {
    ANSWERERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Commands that are answered until this is dropped.
#[derive(Debug)]
pub struct Served(Vec<CString>);

impl Served {
    /// Answers these commands (`/portcullis/info`), each with a sentence for `/help`.
    ///
    /// # Errors
    /// DPDK takes no more commands, or not these.
    pub fn new(_: &Eal, commands: Vec<(&str, &str, Answerer)>) -> Result<Self, Error> {
        let mut served = Self(Vec::new());
        for (command, help, answerer) in commands {
            let text = |text: &str| CString::new(text).map_err(|_| Error::Telemetry { command: command.to_owned() });
            let (name, help) = (text(command)?, text(help)?);
            let is_new = answerers().insert(name.clone(), Some(answerer)).is_none();
            served.0.push(name.clone());
            if is_new {
                // SAFETY: EAL is initialised; both texts end with NUL and are copied; `answer` has the type that is asked for.
                let outcome = unsafe { sys::rte_telemetry_register_cmd(name.as_ptr(), Some(answer), help.as_ptr()) };
                check(outcome).map_err(|_| Error::Telemetry { command: command.to_owned() })?;
            }
        }
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut answerers = answerers();
        for name in &self.0 {
            answerers.insert(name.clone(), None);
        }
    }
}

/// Called by DPDK for a command of ours. `extern "C"`: a panic aborts and never unwinds into C.
unsafe extern "C" fn answer(command: *const c_char, parameters: *const c_char, data: *mut sys::rte_tel_data) -> c_int {
    const NOTHING: c_int = -22; // EINVAL: the answer is `null`.
    if command.is_null() || data.is_null() {
        return NOTHING;
    }
    // SAFETY: DPDK passes the command as it was registered, NUL-terminated, for as long as the call takes.
    let command = unsafe { CStr::from_ptr(command) };
    let parameters = (!parameters.is_null()).then(|| {
        // SAFETY: as above; not null.
        unsafe { CStr::from_ptr(parameters) }.to_string_lossy()
    });
    // Not called under the lock: it may take its time.
    let answerer = answerers().get(command).cloned().flatten();
    let parameters = parameters.as_deref().filter(|text| !text.is_empty());
    match answerer.and_then(|answerer| answerer(parameters)) {
        Some(answer) => put(answer, data),
        None => NOTHING,
    }
}

fn put(answer: Answer, data: *mut sys::rte_tel_data) -> c_int {
    // What holds a NUL byte is no text for C.
    let text = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
    match answer {
        Answer::Members(members) => {
            // SAFETY: `data` is the answer that DPDK has just made for this call.
            let started = unsafe { sys::shim_telemetry_object(data) };
            // The first that finds no room ends it.
            let put = |(name, value): (String, Value)| match value {
                Value::Number(number) => {
                    // SAFETY: as above, and an object now; the name ends with NUL and is copied.
                    unsafe { sys::shim_telemetry_number(data, text(&name).as_ptr(), number) }
                }
                Value::Text(value) => {
                    // SAFETY: as above; so does the value.
                    unsafe { sys::shim_telemetry_text(data, text(&name).as_ptr(), text(&value).as_ptr()) }
                }
            };
            let _ = members.into_iter().map(put).take_while(|&outcome| outcome >= 0).count();
            started
        }
        Answer::Lines(lines) => {
            // SAFETY: `data` is the answer that DPDK has just made for this call.
            let started = unsafe { sys::shim_telemetry_list(data) };
            // SAFETY: as above, and a list of texts now; the line ends with NUL and is copied.
            let put = |line: String| unsafe { sys::shim_telemetry_line(data, text(&line).as_ptr()) };
            let _ = lines.into_iter().map(put).take_while(|&outcome| outcome >= 0).count();
            started
        }
    }
}
