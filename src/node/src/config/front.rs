//! The configuration of a process that is a front end and no node: where its node is, and sections `http` and `dns` as a node has
//! them.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use synod_types::{AppNdx, Program};

use super::document;
use super::fields::Fields;
use super::mistakes::{ConfigErrors, Mistakes};
use super::{Dns, Draft, Format, Http, LogFilter, files, lanes, read_file, threads};

/// What such a process needs to know. Every path is absolute, or relative to the working directory.
#[derive(Clone, PartialEq, Debug)]
pub struct FrontConfig {
    /// The socket at which its node answers front ends.
    pub socket: PathBuf,
    /// The readers' port, if it has one.
    pub http: Option<Http>,
    /// The name server's ports, if it has any.
    pub dns: Option<Dns>,
    /// Threads that do everything.
    pub worker_threads: NonZero<usize>,
    /// What is logged.
    pub log: LogFilter,
    /// The program that runs; no configuration says anything of it.
    pub program: Program,
}

impl FrontConfig {
    /// Reads a file, and looks whether the certificates that it names are in order.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every mistake.
    pub fn load(path: impl AsRef<Path>) -> Result<FrontConfig, ConfigErrors> {
        let path = path.as_ref();
        let mut mistakes = Mistakes::default();
        let read = read_file(path, &mut mistakes).and_then(|(text, format)| {
            let directory = path.parent().unwrap_or(Path::new(""));
            read(&text, format, directory, &mut mistakes)
        });
        if let Some((draft, _)) = &read {
            files::check_shown(draft, &mut mistakes);
        }
        finish(read, mistakes, path)
    }

    /// Reads the text of a configuration; relative paths in it are relative to `directory`. Looks at no file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every mistake in what is written.
    pub fn parse(text: &str, format: Format, directory: &Path) -> Result<FrontConfig, ConfigErrors> {
        let mut mistakes = Mistakes::default();
        let read = read(text, format, directory, &mut mistakes);
        finish(read, mistakes, Path::new("the configuration"))
    }
}

impl Dns {
    /// The application whose zones are served, of applications with these numbers and names, all of kind `zones`.
    ///
    /// # Errors
    /// What is wrong with `dns.app`, or that there is nothing to serve.
    pub fn app_among(&self, zones: &[(AppNdx, String)]) -> Result<AppNdx, String> {
        let Some(wanted) = &self.app else {
            let first = zones.first().map(|(ndx, _)| *ndx);
            return first.ok_or_else(|| {
                "the cluster has no application of kind \"zones\", so there is nothing to serve: leave dns out"
                    .to_owned()
            });
        };
        let number = wanted.parse().ok();
        let by_number = zones.iter().find(|(ndx, _)| Some(*ndx) == number);
        let found = by_number.or_else(|| zones.iter().find(|(_, name)| name == wanted));
        found.map(|(ndx, _)| *ndx).ok_or_else(|| {
            let names: Vec<String> = zones.iter().map(|(ndx, name)| format!("{ndx} ({name})")).collect();
            format!(
                "the cluster has no application {wanted:?} of kind \"zones\"; those that it has: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )
        })
    }
}

/// What is the same at a node, as far as it could be read, and the socket.
fn read(
    text: &str,
    format: Format,
    directory: &Path,
    mistakes: &mut Mistakes,
) -> Option<(Draft, Option<PathBuf>)> {
    let root = document::read(text, format, mistakes)?;
    let mut fields = Fields::of("", root, mistakes);
    let mut draft = Draft { is_front: true, ..Draft::default() };
    if !fields.has("socket") {
        let problem = "is missing; it is needed, for example \"/run/synod/front-ends.sock\", as in front_ends of the node";
        mistakes.add("socket", problem);
    }
    let socket = lanes::read_socket(&mut fields, directory, mistakes);
    draft.id = fields.text("name", mistakes);
    if !fields.has("http") && !fields.has("dns") {
        mistakes.add("", "has neither http nor dns, so there is nothing to serve: give one of them, or both");
    }
    draft.http_is_given = fields.has("http");
    if draft.http_is_given {
        draft.http = draft.read_http(&mut fields, directory, mistakes);
    }
    draft.read_dns(&mut fields, directory, mistakes);
    draft.worker_threads = threads(&mut fields, "worker_threads", mistakes);
    draft.log = fields.parsed("log", mistakes);
    fields.finish(mistakes);
    draft.check_ports(mistakes);
    Some((draft, socket))
}

fn finish(
    read: Option<(Draft, Option<PathBuf>)>,
    mistakes: Mistakes,
    path: &Path,
) -> Result<FrontConfig, ConfigErrors> {
    mistakes.finish(path)?;
    let complete = |(draft, socket): (Draft, Option<PathBuf>)| {
        let is_whole =
            draft.http.is_some() == draft.http_is_given && draft.dns.is_some() == draft.dns_is_given;
        let socket = socket.filter(|_| is_whole)?;
        let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Some(FrontConfig {
            socket,
            http: draft.http,
            dns: draft.dns,
            worker_threads: draft.worker_threads.unwrap_or(cores),
            log: draft.log.unwrap_or_default(),
            program: Program::of_node(),
        })
    };
    Ok(read.and_then(complete).expect("whatever is missing in a draft is among its mistakes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FrontConfig, ConfigErrors> {
        FrontConfig::parse(text, Format::Toml, Path::new("/etc/synod"))
    }

    #[test]
    fn sections_are_those_of_a_node() {
        let config = parse(
            "socket = \"run/fronts.sock\"\n[http]\naddr = \"127.0.0.1:80\"\n[dns]\naddr = \"[::1]:53\"\nmax_lag = \"5m\"",
        );
        let config = config.unwrap();
        assert_eq!(config.socket, Path::new("/etc/synod/run/fronts.sock"));
        assert_eq!(config.http.unwrap().addr.to_string(), "127.0.0.1:80");
        let dns = config.dns.unwrap();
        assert_eq!((dns.addrs[0].port, dns.max_lag.as_secs(), &*dns.hostname), (53, 300, ""));
        let named = parse("socket = \"s\"\nname = \"front1\"\n[dns]\naddr = \"127.0.0.1:53\"").unwrap();
        assert_eq!((named.dns.unwrap().hostname, named.http), ("front1".to_owned(), None));
    }

    #[test]
    fn what_is_shipped_has_no_mistakes() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/front.toml");
        let text = std::fs::read_to_string(shipped).unwrap();
        // With the defaults that it shows, too.
        let shown = text.replace("# name =", "name =").replace("# worker_threads", "worker_threads");
        for text in [text, shown.replace("# log =", "log =")] {
            let config = parse(&text).unwrap();
            assert!(config.http.is_some() && config.dns.is_some());
        }
    }

    #[test]
    fn every_mistake_is_told() {
        let fields = |text: &str| {
            let mut found: Vec<String> =
                parse(text).unwrap_err().mistakes.into_iter().map(|mistake| mistake.field).collect();
            found.sort();
            found
        };
        assert_eq!(fields(""), ["", "socket"]);
        assert_eq!(fields("genesis = \"g\"\n[http]\n[dns]"), ["dns.addr", "genesis", "http.addr", "socket"]);
        assert_eq!(
            fields("socket = \"s\"\n[http]\naddr = \"127.0.0.1:53\"\n[dns]\naddr = \"127.0.0.1:53\""),
            ["dns.addr"]
        );
    }

    #[test]
    fn zones_are_named_or_the_first() {
        let zones = [(AppNdx(2), "zones".to_owned()), (AppNdx(5), "names".to_owned())];
        let dns = |app: &str| {
            let text = format!("socket = \"s\"\n[dns]\naddr = \"127.0.0.1:53\"\n{app}");
            parse(&text).unwrap().dns.unwrap().app_among(&zones)
        };
        assert_eq!(dns(""), Ok(AppNdx(2)));
        assert_eq!(dns("app = \"names\""), Ok(AppNdx(5)));
        assert_eq!(dns("app = 5"), Ok(AppNdx(5)));
        assert!(dns("app = \"kv\"").unwrap_err().contains("2 (zones), 5 (names)"));
    }
}
