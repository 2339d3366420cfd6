//! `webbft init`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use webbft_protocol::membership::{MacAlgorithm, Quorums};

use super::Failure;
use crate::Services;
use crate::init::{Setup, init, places};

/// The MAC on client links, by its name in the view.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mac {
    HmacSha256,
    HmacSha1,
}

/// The shape of a service: shared by `init` and `cluster`.
#[derive(Debug, Args)]
pub(super) struct ShapeArgs {
    /// How many replicas.
    #[arg(long, default_value_t = 4)]
    n: usize,
    /// How many of them may be faulty; n must be at least 3f + 1. As many as n allows if it is not
    /// said: 1 of 4, and none of 1, which is the service without replication.
    #[arg(long)]
    f: Option<usize>,
    /// The first port for pages and clients; the ports for other replicas are 100 above.
    #[arg(long, default_value_t = 7100, value_name = "PORT")]
    base_port: u16,
    /// The MAC on client links.
    #[arg(long, value_enum, default_value = "hmac-sha256")]
    mac: Mac,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  webbft init --dir setup --service kv
      four replicas on this machine, ports 7100 to 7103 and 7200 to 7203
  webbft init --dir setup --service kv --host a.example,b.example,c.example,d.example
      four machines, ports 7100 and 7200 on each")]
pub(super) struct InitArgs {
    /// Where to write view.json and a directory for each replica.
    #[arg(long)]
    dir: PathBuf,
    /// The service that the replicas run.
    #[arg(long)]
    service: String,
    /// The host of all replicas, or, given n times, of each.
    #[arg(long, default_value = "127.0.0.1", value_delimiter = ',')]
    host: Vec<String>,
    #[command(flatten)]
    shape: ShapeArgs,
}

impl ShapeArgs {
    pub(super) fn f(&self) -> usize {
        self.f.unwrap_or(self.n.saturating_sub(1) / 3)
    }

    pub(super) const fn n(&self) -> usize {
        self.n
    }

    /// The set-up of this shape on these hosts.
    pub(super) fn setup(
        &self,
        service: &str,
        hosts: &[String],
        services: &Services,
    ) -> Result<Setup, Failure> {
        if services.get(service).is_none() {
            let list = services.list();
            return Err(Failure::Usage(anyhow!(
                "there is no service {service:?} in this program; it has: {list}"
            )));
        }
        Quorums::new(self.n, self.f()).map_err(|error| Failure::Usage(error.into()))?;
        Ok(Setup {
            f: self.f(),
            mac: match self.mac {
                Mac::HmacSha256 => MacAlgorithm::HmacSha256,
                Mac::HmacSha1 => MacAlgorithm::HmacSha1,
            },
            service: service.to_owned(),
            places: places(hosts, self.n, self.base_port).map_err(Failure::Usage)?,
        })
    }
}

pub(super) fn run(args: &InitArgs, services: &Services) -> Result<(), Failure> {
    let setup = args.shape.setup(&args.service, &args.host, services)?;
    let configs = init(&args.dir, &setup)?;
    eprintln!("{}: give it to clients and pages", args.dir.join("view.json").display());
    for config in configs {
        eprintln!("{}: run with: webbft replica --config {0}", config.display());
    }
    Ok(())
}
