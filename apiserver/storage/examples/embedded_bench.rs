//! Measures the embedded store on a real disk: durable writes a second, opening, memory.
//!
//! `cargo run --release -p kplane-storage --example embedded_bench -- DIRECTORY [KEYS] [CACHE_KIB]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kplane_storage::{Bytes, EmbeddedOptions, EmbeddedStore, Op, RangeRequest, Store, Txn};

const FOR: Duration = Duration::from_secs(3);

/// A figure of `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}

fn syncs_a_second(directory: &Path) -> std::io::Result<f64> {
    let mut file = std::fs::File::create(directory.join("sync"))?;
    let began = Instant::now();
    let mut syncs = 0;
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / began.elapsed().as_secs_f64())
}

async fn puts(store: Arc<EmbeddedStore>, writers: usize, size: usize) -> (f64, Duration) {
    let began = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let value = Bytes::from(vec![b'x'; size]);
            let mut times = Vec::new();
            while began.elapsed() < FOR {
                let at = Instant::now();
                let key = format!("/bench/{writers}/{size}/{writer}/{}", times.len());
                if store.put(Bytes::from(key), value.clone()).await.is_err() {
                    break;
                }
                times.push(at.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.unwrap_or_default());
    }
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    (times.len() as f64 / began.elapsed().as_secs_f64(), p99)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("name a directory")?);
    let keys: usize = arguments.next().as_deref().unwrap_or("200000").parse()?;
    let mut base = EmbeddedOptions::default();
    if let Some(kib) = arguments.next() {
        base.cache_bytes = kib.parse::<usize>()? << 10;
    }
    std::fs::create_dir_all(&directory)?;
    println!("{:.0} syncs/s of the disk", syncs_a_second(&directory)?);
    let path = directory.join("bench.store");
    for quick_repair in [false, true] {
        // A store of an earlier run would be measured, too.
        let _ = std::fs::remove_file(&path);
        let options = EmbeddedOptions { quick_repair, ..Default::default() };
        let store = Arc::new(EmbeddedStore::open(&path, options)?);
        for (writers, size) in [(1, 1000), (16, 1000), (64, 1000), (256, 1000), (64, 200)] {
            let (rate, p99) = puts(store.clone(), writers, size).await;
            println!(
                "quick_repair={quick_repair} writers={writers} bytes={size}: {rate:.0} puts/s, p99 {p99:?}"
            );
        }
        store.close().await?;
    }

    std::fs::remove_file(&path)?;
    let store = EmbeddedStore::open(&path, base.clone())?;
    let value = Bytes::from(vec![b'x'; 300]);
    for chunk in 0..keys / 100 {
        let ops = (0..100).map(|n| Op::put(format!("/v/{:08}/pin", chunk * 100 + n), value.clone()));
        store.txn(Txn::new().and_then(ops)).await?;
    }
    println!(
        "{keys} keys of 300 bytes: {} MiB of file, {} MiB resident after writing",
        store.status().await?.bytes >> 20,
        memory("VmRSS:") >> 10
    );
    let at = Instant::now();
    let range = store.range(RangeRequest { count_only: true, ..RangeRequest::prefix("/v/") }).await?;
    println!("counting {} keys: {:?}", range.count, at.elapsed());
    // What a crash leaves, as far as opening is concerned: the file of a store still open.
    let crashed = directory.join("crashed.store");
    std::fs::copy(&path, &crashed)?;
    store.close().await?;
    let before = memory("VmRSS:");
    let at = Instant::now();
    let store = EmbeddedStore::open(&path, base.clone())?;
    println!("opening after closing: {:?}", at.elapsed());
    let at = Instant::now();
    for n in 0..10_000 {
        let key = format!("/v/{:08}/pin", n * 7919 % keys.max(1));
        if store.get(key.as_bytes(), None).await?.kv.is_none() {
            return Err("a key is missing".into());
        }
    }
    println!("a get: {:?}", at.elapsed() / 10_000);
    println!("resident: {} KiB before opening, {} KiB after 10,000 gets", before, memory("VmRSS:"));
    store.close().await?;
    let at = Instant::now();
    EmbeddedStore::open(&crashed, base)?;
    println!("opening after a crash: {:?}", at.elapsed());
    std::fs::remove_file(&path)?;
    std::fs::remove_file(&crashed)?;
    Ok(())
}
