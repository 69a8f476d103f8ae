//! Which server a scenario runs on: the binary, built if need be, and its number of shards.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Server;

/// A server of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `wrs`.
    Smol,
    /// `wrs-glommio`.
    Glommio,
}

/// A server and how many shards it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Runtime {
    /// Which server.
    pub kind: Kind,
    /// `WRS_SHARDS`.
    pub shards: u16,
}

impl Kind {
    const fn package(self) -> &'static str {
        match self {
            Kind::Smol => "wrs",
            Kind::Glommio => "wrs-glommio",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Kind::Smol => "WRS_BIN_SMOL",
            Kind::Glommio => "WRS_BIN_GLOMMIO",
        }
    }

    /// The program: the one that the environment names, or the workspace's own, built when it is first asked for.
    pub fn binary(self) -> &'static Path {
        static SMOL: OnceLock<PathBuf> = OnceLock::new();
        static GLOMMIO: OnceLock<PathBuf> = OnceLock::new();
        let place = match self {
            Kind::Smol => &SMOL,
            Kind::Glommio => &GLOMMIO,
        };
        place.get_or_init(|| match std::env::var_os(self.variable()) {
            Some(path) => path.into(),
            None => self.build(),
        })
    }

    /// Builds the program into the directory that this test was built into.
    fn build(self) -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let program = profile.join(self.package());
        // nextest runs each test in a process of its own: one of them builds for all.
        let stamp = std::env::var("NEXTEST_RUN_ID").ok().map(|run| profile.join(format!(".{}-{run}", self.package())));
        if stamp.as_ref().is_some_and(|stamp| stamp.exists()) {
            return program;
        }
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".to_owned()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        // What cargo told this test about its own package would make build scripts run anew for the server's.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
            if of_package.iter().any(|prefix| name_text.starts_with(prefix)) {
                cargo.env_remove(name);
            }
        }
        cargo.args(["build", "--quiet", "--package", self.package(), "--bin", self.package(), "--target-dir"]);
        cargo.arg(profile.parent().unwrap());
        match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => drop(cargo.args(["--profile", profile])),
        }
        let status = cargo.status().expect("cargo builds the server");
        assert!(status.success(), "{} does not build", self.package());
        if let Some(stamp) = stamp {
            File::create(stamp).unwrap();
        }
        program
    }

    /// Whether the server can run here. What the generic server says in vain is a fault; the other one asks for much of
    /// its machine, and where it starts in vain, or is not built and not asked for, `Err` says why. `WRS_REQUIRE_GLOMMIO`
    /// makes a fault of that too.
    pub fn availability(self) -> &'static Result<(), String> {
        static GLOMMIO: OnceLock<Result<(), String>> = OnceLock::new();
        match self {
            Kind::Smol => &Ok(()),
            Kind::Glommio => GLOMMIO.get_or_init(|| {
                let found = Server::try_start(Runtime { kind: Kind::Glommio, shards: 1 }, &[]).map(drop);
                if let Err(why) = &found {
                    assert!(std::env::var_os("WRS_REQUIRE_GLOMMIO").is_none(), "wrs-glommio does not run: {why}");
                }
                found
            }),
        }
    }
}

impl Runtime {
    /// A server with flags (`--ssl`) and variables (`WRS_AUTH=true`) that serves on a port of its own.
    pub fn start(&self, settings: &[&str]) -> Server {
        Server::try_start(*self, settings).unwrap_or_else(|why| panic!("{self:?} {settings:?}: {why}"))
    }
}
