//! Output and content as text of bounded size: which bytes are shown, and how.

mod escape;
mod window;

pub(crate) use self::escape::{complete_len, escape};
pub(crate) use self::window::{Shown, Window};
