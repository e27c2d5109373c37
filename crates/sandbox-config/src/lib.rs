//! Settings of the sandbox SDK, from the environment and a `.env` file.
//!
//! [`Settings`] come from variables named `SANDBOX_…`: [`Settings::from_env`] reads the
//! process's environment, [`Settings::from_dotenv`] one named file beneath it. Nothing is
//! searched for, the environment is never changed, and the real environment wins over the
//! file. An empty value is the default.
//!
//! A wrong value is an error, never ignored, and all of them are reported at once. A file may
//! come with a cloned repository, so it is trusted less: some variables it
//! [may not set](Variable::from_file), a name it misspells is an error, and its content is
//! never repeated in an error.
//!
//! [`VARIABLES`] lists every variable; `.env.example` is its text form.

mod dotenv;
mod duration;
mod mistakes;
mod resolve;
mod settings;
mod value;
mod variables;

pub use duration::{DURATION_FORM, format_duration, parse_duration};
pub use settings::{
    BackendKind, ImagePullPolicy, InjectionKind, KubernetesSettings, LocalIsolation, LocalSettings,
    SecurityProfileKind, Settings, SshSettings, Timeouts, TransportKind,
};
pub use variables::{VARIABLES, Variable};
