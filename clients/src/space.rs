//! A client's network namespace: loopback, and one link to that of the proxy. It goes when it is dropped, with every
//! process that was started in it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long a namespace may take to be made.
const DEADLINE: Duration = Duration::from_secs(20);

/// The namespace. The addresses of one are no others'.
pub(crate) struct Space {
    number: u8,
    holder: Child,
}

impl Space {
    /// Makes the namespace of this number, in which files of `directory` stand for `/etc/resolv.conf` and `/etc/hosts`.
    pub(crate) async fn make(number: u8, directory: &Path) -> anyhow::Result<Self> {
        let decoy = Self::address_of_decoy(number);
        std::fs::write(directory.join("resolv.conf"), format!("nameserver {decoy}\noptions timeout:2 attempts:1\n"))?;
        // As in a pod, whose own name is there too: git asks for it.
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
        std::fs::write(directory.join("hosts"), format!("127.0.0.1 localhost {name}\n::1 localhost\n"))?;
        let script = "mount --bind resolv.conf /etc/resolv.conf && mount --bind hosts /etc/hosts \
                      && ip link set lo up && echo made && exec sleep infinity";
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--mount", "--fork", "--kill-child", "sh", "-c", script]).current_dir(directory);
        let mut holder = holder.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = holder.stdout.take().context("the output is piped")?;
        let line = tokio::time::timeout(DEADLINE, BufReader::new(output).lines().next_line()).await??;
        ensure!(line.as_deref() == Some("made"), "the client's namespace could not be made");
        let space = Self { number, holder };
        space.link().await?;
        Ok(space)
    }

    async fn link(&self) -> anyhow::Result<()> {
        let (number, id) = (self.number, self.id()?);
        let script = format!(
            "ip link add p{number} type veth peer name c0 netns {id}
             ip address add {proxy}/24 dev p{number}
             ip address add {decoy}/24 dev p{number}
             ip link set p{number} up
             nsenter --net=/proc/{id}/ns/net ip address add {client}/24 dev c0
             nsenter --net=/proc/{id}/ns/net ip link set c0 up
             nsenter --net=/proc/{id}/ns/net ip route add default via {decoy}",
            proxy = Self::address_of_proxy(number),
            decoy = Self::address_of_decoy(number),
            client = Ipv4Addr::new(10, 77, number, 9),
        );
        let output = Command::new("sh").args(["-e", "-c", &script]).output().await?;
        if !output.status.success() {
            bail!("the link to the client's namespace: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.holder.id().context("the client's namespace is gone")
    }

    /// Where the client reaches the proxy.
    pub(crate) const fn address_of_proxy(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, number, 1)
    }

    /// Where every name points that the client looks up by itself.
    pub(crate) const fn address_of_decoy(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, number, 3)
    }

    /// A command in the namespace, run in this directory. When its first process ends, so does what else it started.
    pub(crate) fn command(&self, directory: &Path) -> anyhow::Result<Command> {
        let id = self.id()?;
        let mut command = Command::new("nsenter");
        command.args([format!("--net=/proc/{id}/ns/net"), format!("--mount=/proc/{id}/ns/mnt")]);
        command.args(["--", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        // Entered in the namespace's own view of files, where it is another directory than outside.
        command.args(["env", "--chdir"]).arg(directory);
        Ok(command)
    }
}
