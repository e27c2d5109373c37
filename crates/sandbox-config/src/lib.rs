//! Settings of the sandbox SDK, from the environment and a `.env` file.
//!
//! [`Settings`] come from variables named `SANDBOX_…`. [`Settings::from_env`] reads the process's
//! environment, [`Settings::from_dotenv`] also one file that you name. Files are never searched for,
//! the environment is never changed, and the real environment overrides the file. An empty value
//! means the default.
//!
//! Invalid values are errors, never ignored, and all of them are reported at once. A file may come
//! with a cloned repository, so it is trusted less: it [may not set](Variable::from_file) some
//! variables, a misspelt name in it is an error, and errors never repeat its content.
//!
//! [`VARIABLES`] lists every variable, and `.env.example` is generated from it.

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
