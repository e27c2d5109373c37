//! Finds the programs sandbox-sshd that are uploaded into Pods.

use std::path::{Path, PathBuf};

use sandbox_k8s::options::{Architecture, ServerPrograms};

/// Returns the given programs, and for each architecture that they lack, the one that is found near the running program.
pub(super) fn find(given: ServerPrograms) -> ServerPrograms {
    let mut programs = given;
    let missing: Vec<_> = Architecture::ALL
        .into_iter()
        .filter(|one| programs.architectures().all(|given| given != *one))
        .collect();
    let Ok(running) = std::env::current_exe() else {
        return programs;
    };
    for architecture in missing {
        for candidate in candidates_near(&running, architecture) {
            if candidate.is_file() {
                match programs.clone().with_file(&candidate) {
                    Ok(more) => {
                        programs = more;
                        break;
                    }
                    Err(error) => tracing::warn!(%error, "SSH server ignored"),
                }
            }
        }
    }
    programs
}

/// Returns where a program may be: beside the running one, as in an archive of a release; and where `cargo xtask image`
/// builds it, for a program that cargo has built.
fn candidates_near(running: &Path, architecture: Architecture) -> Vec<PathBuf> {
    let target = match architecture {
        Architecture::Amd64 => "x86_64-unknown-linux-gnu",
        Architecture::Arm64 => "aarch64-unknown-linux-gnu",
        _ => return Vec::new(),
    };
    let Some(directory) = running.parent() else {
        return Vec::new();
    };
    let beside = directory.join(format!("sandbox-sshd-{architecture}"));
    // cargo's layout: TARGET/PROFILE/ or TARGET/TRIPLE/PROFILE/, and deps/ or examples/ below it.
    let profile = directory
        .ancestors()
        .take(2)
        .find(|above| above.ends_with("debug") || above.ends_with("release"));
    let built = profile
        .into_iter()
        .flat_map(|profile| profile.ancestors().skip(1).take(2))
        .map(|above| above.join(target).join("release/sandbox-sshd"));
    [beside].into_iter().chain(built).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_beside_the_running_one_and_where_it_is_built() {
        let candidates = candidates_near(
            Path::new("/src/target/debug/deps/test"),
            Architecture::Arm64,
        );
        assert_eq!(
            candidates,
            [
                "/src/target/debug/deps/sandbox-sshd-arm64",
                "/src/target/aarch64-unknown-linux-gnu/release/sandbox-sshd",
                "/src/aarch64-unknown-linux-gnu/release/sandbox-sshd",
            ]
            .map(PathBuf::from)
        );
        let installed = candidates_near(Path::new("/usr/local/bin/sandbox"), Architecture::Amd64);
        assert_eq!(
            installed,
            [Path::new("/usr/local/bin/sandbox-sshd-amd64")],
            "others may write to the directories above"
        );
    }
}
