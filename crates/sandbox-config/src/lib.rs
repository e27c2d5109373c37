//! Settings of the sandbox SDK, from the environment and a `.env` file.
//!
//! [`Settings`] come from variables named `SANDBOX_…`. [`Settings::from_env`] reads the process's
//! environment, and [`Settings::from_dotenv`] also a file that you name. Files are never searched
//! for, the environment is never changed, and it overrides the file. An empty value means the
//! default.
//!
//! Invalid values are errors, never ignored, and all of them are reported at once. A file may come
//! with a cloned repository, so it is trusted less: it [may not set](Variable::from_file) some
//! variables, a misspelt name in it is an error, and errors never repeat its content.
//!
//! [`VARIABLES`] lists every variable, and `.env.example` is generated from it.

mod dotenv;
mod duration;
mod load;
mod mistakes;
mod resolve;
mod settings;
mod value;
mod variables;

pub use duration::{DURATION_FORM, format_duration, parse_duration};
pub use settings::{
    BackendKind, GatewaySettings, KubernetesSettings, LocalSettings, Settings, SshSettings,
    Timeouts,
};
pub use variables::{VARIABLES, Variable};
