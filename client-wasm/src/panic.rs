//! What is left of a panic: its message, for the facade to tell every caller.

use std::panic::PanicHookInfo;
use std::sync::{Mutex, Once, PoisonError};

static MESSAGE: Mutex<Option<String>> = Mutex::new(None);
static INSTALL: Once = Once::new();

pub(crate) fn install_hook() {
    INSTALL.call_once(|| std::panic::set_hook(Box::new(keep)));
}

fn keep(info: &PanicHookInfo<'_>) {
    *MESSAGE.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
}

pub(crate) fn message() -> Option<String> {
    MESSAGE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
