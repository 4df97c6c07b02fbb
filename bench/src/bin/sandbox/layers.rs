//! Layers of an image: all are unpacked, then removed. The answer is the microseconds that unpacking them took, and
//! the bytes and entries of their archives.

use std::{
    error::Error,
    fs,
    io::{BufRead, Write},
    path::Path,
    time::Instant,
};

use dormouse_driver::{
    Daemon, Node,
    layers::{Blob, Unpacked, blob_path, give_to_node},
    script,
};
use dormouse_sandbox::messages::Compression;

/// What a layer may unpack to, as the daemon's configuration has it, in bytes.
const BYTES_MAX: u64 = 16 << 30;

type Failure = Box<dyn Error>;

/// Arguments: where the daemon's data is to be, where the layout's blobs are, and of each layer the digests of its blob
/// and of its contents.
pub(crate) fn drive(arguments: &[String]) -> Result<(), Failure> {
    let [data, blobs, digests @ ..] = arguments else {
        return Err("a data directory and blobs are to be named".into());
    };
    let data = Path::new(data);
    let mut daemon = Daemon::start_with(|settings| {
        settings.data = data.to_owned();
        script::store_model(data);
    });
    let mut node = daemon.node();
    let stored = |digests: &[String]| stored(data, Path::new(blobs), digests);
    let layers = digests.chunks(2).map(stored).collect::<Result<Vec<Blob>, _>>()?;
    for line in std::io::stdin().lock().lines() {
        let begun = Instant::now();
        let unpacked = match line?.as_str() {
            "at once" => at_once(&mut node, &layers),
            _ => one_by_one(&mut node, &layers),
        }?;
        let took = begun.elapsed();
        let bytes: u64 = unpacked.iter().map(|layer| layer.bytes).sum();
        let entries: u64 = unpacked.iter().map(|layer| layer.entries).sum();
        layers.iter().for_each(|layer| node.remove_layer(&layer.diff_id));
        println!("{} {bytes} {entries}", took.as_micros());
        let _ = std::io::stdout().flush();
    }
    daemon.end(node);
    Ok(())
}

/// Puts a blob where the node would have.
fn stored(data: &Path, blobs: &Path, digests: &[String]) -> Result<Blob, Failure> {
    let [blob, diff_id] = digests else { return Err("a layer has two digests".into()) };
    let layer = Blob { blob: blob.parse()?, diff_id: diff_id.parse()?, compression: Compression::Gzip };
    let (from, to) = (blobs.join(layer.blob.hex()), blob_path(data, &layer.blob));
    fs::copy(&from, &to).map_err(|error| format!("copying {} to {}: {error}", from.display(), to.display()))?;
    give_to_node(&to);
    Ok(layer)
}

fn one_by_one(node: &mut Node, layers: &[Blob]) -> Result<Vec<Unpacked>, Failure> {
    let unpack = |layer| {
        node.ask_to_unpack_within(layer, BYTES_MAX);
        heard(node, layer)
    };
    layers.iter().map(unpack).collect()
}

fn at_once(node: &mut Node, layers: &[Blob]) -> Result<Vec<Unpacked>, Failure> {
    layers.iter().for_each(|layer| node.ask_to_unpack_within(layer, BYTES_MAX));
    layers.iter().map(|layer| heard(node, layer)).collect()
}

fn heard(node: &mut Node, layer: &Blob) -> Result<Unpacked, Failure> {
    Ok(node.unpacked(&layer.diff_id).map_err(|reason| format!("unpacking {}: {reason}", layer.diff_id))?)
}
