//! How much memory idle control planes take: `cargo run --release -p kplane-registry --example idle_vcps -- 10000 100000`.
//!
//! For each count a store is filled, and then opened by a process of its own that tells its resident memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use kplane_registry::{Layer, NewVcp, ObjectKey, Registry, RegistryOptions, ResourceKey};
use kplane_storage::{EmbeddedOptions, EmbeddedStore, Txn};
use serde_json::json;

const BATCH: usize = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, directory] = arguments.as_slice()
        && mode == "measure"
    {
        return measure(Path::new(directory)).await;
    }
    let mut counts = vec![0];
    counts.extend(arguments.iter().map(|count| count.parse()).collect::<Result<Vec<u32>, _>>()?);
    let mut least = 0;
    for count in counts {
        let directory = tempfile::tempdir()?;
        fill(directory.path(), count).await?;
        let output = std::process::Command::new(std::env::current_exe()?)
            .arg("measure")
            .arg(directory.path())
            .output()
            .context("measuring")?;
        anyhow::ensure!(output.status.success(), "measuring: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let (bytes, milliseconds) = text.trim().split_once(' ').context("two numbers")?;
        let bytes: u64 = bytes.parse()?;
        if count == 0 {
            least = bytes;
            println!("no control planes: {} KiB resident", bytes / 1024);
        } else {
            let each = bytes.saturating_sub(least) / u64::from(count);
            let kept = std::fs::metadata(directory.path().join("store"))?.len() / u64::from(count);
            println!(
                "{count} control planes: {} KiB resident, {each} bytes each; {kept} bytes each in the store; opened in {milliseconds} ms",
                bytes / 1024
            );
        }
    }
    Ok(())
}

async fn open(directory: &Path) -> Result<Registry> {
    let store = EmbeddedStore::open(&directory.join("store"), EmbeddedOptions::default())?;
    Ok(Registry::open(Arc::new(store), RegistryOptions::default()).await?)
}

async fn fill(directory: &Path, count: u32) -> Result<()> {
    let registry = open(directory).await?;
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}});
    let key = ObjectKey::new(ResourceKey::new("", "configmaps"), Some("default"), "x");
    let layer = registry.ensure_layer(&Layer::build(1, vec![(key, object)])?).await?;
    let numbers: Vec<u32> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        let mut txn = Txn::new();
        for number in batch {
            let effects = registry.creation(&NewVcp {
                uid: format!(
                    "{:08x}-0000-4000-8000-00000000000{}",
                    number.wrapping_mul(2_654_435_761),
                    number % 10
                ),
                name: format!("tenant-{number:06}"),
                created: 1_700_000_000,
                layers: vec![layer],
                parameters: None,
                credentials: Default::default(),
            })?;
            txn = txn.when(effects.compares).and_then(effects.ops);
        }
        anyhow::ensure!(registry.store().txn(txn).await?.succeeded, "a control plane is there already");
    }
    registry.ready().await?;
    anyhow::ensure!(registry.stats().vcps == count as usize + 1, "not all are known");
    registry.store().close().await?;
    Ok(())
}

async fn measure(directory: &Path) -> Result<()> {
    let begun = Instant::now();
    let registry = open(directory).await?;
    registry.ready().await?;
    let milliseconds = begun.elapsed().as_millis();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    println!("{} {milliseconds}", kilobytes * 1024);
    Ok(())
}
