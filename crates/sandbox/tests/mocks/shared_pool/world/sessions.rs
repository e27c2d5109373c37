//! Sessions with servers that obey one key.

use super::*;

#[async_trait]
impl SessionSource for World {
    async fn session(&self, access: Arc<Access>, _: Deadline) -> Result<Arc<dyn Session>> {
        let pod = self.read(|state| state.pods.get(&access.id).cloned());
        let is_silent = self.read(|state| state.silent.contains(&access.id));
        match pod {
            Some(pod) if pod.info.state != SandboxState::Ended && !is_silent => {
                if pod.authorized != access.client_key.public_key()? {
                    return Err(Error::connection(ConnectionStage::Auth, "refused", None));
                }
            }
            _ => return Err(Error::connection(ConnectionStage::Dial, "silent", None)),
        }
        Ok(Arc::new(session(self, &access.id)))
    }

    async fn evict(&self, uid: &Uid) {
        self.with(|state| state.evicted.insert(uid.clone()));
    }
}

fn session(world: &World, id: &SandboxId) -> MockSession {
    let mut session = MockSession::new();
    let (of_claim, of_output, of_upload, of_stat, of_download) = (
        world.clone(),
        world.clone(),
        world.clone(),
        world.clone(),
        world.clone(),
    );
    let (claimed, uploaded, found, downloaded) = (id.clone(), id.clone(), id.clone(), id.clone());
    session.expect_claim().returning(move |request| {
        of_claim.with(|state| {
            state.calls.push("take over");
            state.ttls.push(request.ttl);
            if state.older_servers {
                let operation = "being claimed";
                return Err(Error::unsupported(operation, "the sandbox", "fill it anew"));
            }
            let pod = state.pods.get_mut(&claimed).unwrap();
            let is_first = !std::mem::replace(&mut pod.was_claimed, true);
            if is_first {
                pod.authorized = request.authorized;
            }
            Ok(is_first)
        })
    });
    let of_probe = world.clone();
    session.expect_probe_port().returning(move |host, _, _| {
        Ok(match host {
            "127.0.0.1" => PortProbe::Open,
            _ => of_probe.with(|state| {
                state.calls.push("probe");
                state.canary.unwrap_or(PortProbe::Silent)
            }),
        })
    });
    let of_listen = world.clone();
    session.expect_listen().returning(move |_| {
        of_listen.with(|state| state.calls.push("listen"));
        Ok(PortListener::new(4321, Silence))
    });
    let of_start = world.clone();
    session.expect_start_ttl().returning(move |ttl| {
        of_start.with(|state| {
            state.calls.push("start ttl");
            state.ttls.push(Some(ttl));
        });
        Ok(ttl)
    });
    session.expect_output().returning(move |_, _| {
        let code = of_output.with(|state| {
            state.calls.push("run");
            u32::from(state.failing_commands)
        });
        Ok(Output::new(ExitStatus::Code(code), "", ""))
    });
    session
        .expect_exec()
        .returning(|request: ExecRequest| Ok(echo(request)));
    session.expect_create_dir().returning(|_, _| Ok(()));
    session.expect_upload().returning(move |request, mut from| {
        let mut text = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut text);
        futures_util::FutureExt::now_or_never(read)
            .unwrap()
            .unwrap();
        if request.path == sandbox_core::environment_file::PATH {
            of_upload.with(|state| state.pods.get_mut(&uploaded).unwrap().environment = text);
        }
        Ok(0)
    });
    session.expect_stat().returning(move |path, _| {
        if of_stat.pod(&found).environment.is_empty() {
            let reason = sandbox::TransferReason::NotFound;
            let direction = sandbox::Direction::Download;
            return Err(Error::transfer(
                direction,
                path.clone(),
                reason,
                "no such file",
                None,
            ));
        }
        Ok(sandbox::FileInfo::new(
            path.clone(),
            sandbox::FileKind::File,
            1,
            0o600,
            None,
        ))
    });
    session.expect_download().returning(move |_, mut to| {
        let text = of_download.pod(&downloaded).environment;
        let write = tokio::io::AsyncWriteExt::write_all(&mut to, &text);
        futures_util::FutureExt::now_or_never(write)
            .unwrap()
            .unwrap();
        Ok(text.len() as u64)
    });
    session
}

/// A listener that nothing connects to.
struct Silence;

#[async_trait]
impl Accept for Silence {
    async fn accept(&mut self) -> std::io::Result<Option<Box<dyn ByteStream>>> {
        std::future::pending().await
    }
}
