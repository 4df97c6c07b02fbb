//! nginx as a proxy before a server that listens on a Unix socket: one worker, connections kept on both sides.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{end, installed};
use crate::{Failure, http::Connection};

const START_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    version: String,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// With a configuration and directories of its own, beside one that the machine may have.
    pub(crate) fn start(upstream: &Path) -> Result<Self, Failure> {
        let program = installed("nginx")?;
        let directory = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration(directory.path(), address, upstream))?;
        let words = directory.path().join("words");
        let child = Command::new(&program)
            .args(["-p".as_ref(), directory.path().as_os_str()])
            .args(["-c".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&words)?)
            .spawn()?;
        let mut nginx = Self { child, address, version: version_of(&program), _directory: directory };
        nginx.until_it_listens(&words)?;
        Ok(nginx)
    }

    fn until_it_listens(&mut self, words: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.address).is_err() {
            let told = || fs::read_to_string(words).unwrap_or_default().trim().replace('\n', "; ");
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("nginx ended with {status}: {}", told()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("nginx does not listen: {}", told()).into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    pub(crate) fn connect(&self) -> Result<Connection<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(Connection::new(stream))
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// What is not said is nginx's default, but for the access log: ours has none. By default it also ends every
/// thousandth connection.
fn configuration(directory: &Path, address: SocketAddr, upstream: &Path) -> String {
    let (place, upstream) = (directory.display(), upstream.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {place}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 1;\nuser root;\nerror_log stderr;\npid {place}/nginx.pid;\nevents {{ worker_connections 64; }}\nhttp {{\n\
         {temporary}    access_log off;\n    keepalive_requests 1000000;\n    upstream server {{\n        server \
         unix:{upstream};\n        keepalive 8;\n        keepalive_requests 1000000;\n    }}\n    server {{\n        \
         listen {address};\n        location / {{\n            proxy_pass http://server;\n            \
         proxy_http_version 1.1;\n            proxy_set_header Connection \"\";\n        }}\n    }}\n}}\n"
    )
}

/// `nginx version: nginx/1.22.1`, on standard error.
fn version_of(program: &PathBuf) -> String {
    let told = Command::new(program).arg("-v").output().map(|output| output.stderr).unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    format!("nginx {}", told.trim().rsplit('/').next().unwrap_or("of unknown version"))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed it would leave its worker running.
        end(&mut self.child);
    }
}
