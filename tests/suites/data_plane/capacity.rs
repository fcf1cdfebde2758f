//! Tables that are full, flooded, or written by the hundred thousand; each trial on maps of its own.

use anyhow::{Context, Result, ensure};
use mitigator::config::Capacities;
use mitigator::kernel::blocks::NewBlock;
use mitigator::kernel::maps;
use mitigator::kernel::table::Table;
use mitigator::pipeline::target::Target;
use mitigator_common::{BlockEntry, BlockOrigin, NEVER_EXPIRES, Outcome, PrefixKey, Source, SourceCounters};
use mitigator_tests::packet::{tcp_syn, udp};

use super::bench::{Bench, difference};

pub fn full_tables_say_so() -> Result<()> {
    const ROOM: u32 = 64;
    let mut bench = Bench::new(&Capacities { sources: 1_024, blocks: ROOM, prefixes: ROOM })?;
    let targets: [fn(u8) -> Target; 2] = [
        |number| Target::Source(Source::from_v4_bytes([10, 0, 0, number])),
        |number| Target::Prefix(PrefixKey::new([10, 0, number, 0].into(), 24)),
    ];
    for (target, table) in targets.into_iter().zip([maps::BLOCKLIST, maps::BLOCK_PREFIXES]) {
        let block = |number| NewBlock {
            target: target(number),
            expires_at_ns: NEVER_EXPIRES,
            origin: BlockOrigin::Import,
        };
        let room = u8::try_from(ROOM)?;
        let fitting: Vec<NewBlock> = (0..room).map(block).collect();
        bench.plane().blocks().block_all(&fitting, |_| {})?;
        // Writing one that is there needs no room.
        bench.plane().blocks().block_all(&fitting, |_| {})?;
        let error = bench.plane().blocks().block_all(&[block(room)], |_| {}).err();
        let message = format!("{:#}", error.with_context(|| format!("{table}: one too many is written"))?);
        ensure!(
            message.contains(table) && message.contains("64 entries") && message.contains("capacity"),
            "{message}"
        );
    }
    let (sources, prefixes) = bench.plane().blocks().fill()?;
    ensure!((sources.used, prefixes.used) == (64, 64), "{sources:?} {prefixes:?}");
    for (source, expected) in [
        ("10.0.0.0", Outcome::DropBlocked),
        ("10.0.0.63", Outcome::DropBlocked),
        ("10.0.63.1", Outcome::DropBlockedPrefix),
        ("10.0.64.1", Outcome::PassCounted),
    ] {
        let outcome = bench.outcome_of(&tcp_syn(source).bytes())?;
        ensure!(outcome == expected, "{source}: {}", outcome.name());
    }
    Ok(())
}

pub fn stays_within_capacity() -> Result<()> {
    const CAPACITY: u32 = 1_024;
    const SOURCES: u32 = 5_000;
    let mut bench = Bench::new(&Capacities { sources: CAPACITY, blocks: 64, prefixes: 64 })?;
    let before = bench.plane().outcomes()?;
    for number in 0..SOURCES {
        let [_, _, high, low] = number.to_be_bytes();
        let packet = udp(&format!("10.0.{high}.{low}"), 40_000).bytes();
        bench.program().test_run(&packet, 1)?;
        if number % 500 == 499 {
            let rows = bench.plane().sources().read_all()?.len();
            ensure!(rows <= 1_024, "{rows} rows after {number} sources");
        }
    }
    let rows: Vec<(Source, SourceCounters)> = bench.plane().sources().read_all()?;
    ensure!(rows.len() >= 512, "only {} rows are kept", rows.len());
    ensure!(rows.iter().all(|(_, row)| row.packets == 1), "a row is somebody else's");
    let last = Source::from_v4_bytes([10, 0, 0x13, 0x87]);
    ensure!(bench.counters_of(last)?.packets == 1, "the latest source is forgotten");
    let change = difference(&bench.plane().outcomes()?, &before);
    ensure!(change.iter().sum::<u64>() == u64::from(SOURCES), "{change:?}");
    Ok(())
}

pub fn batches_of_blocks() -> Result<()> {
    const COUNT: u32 = 100_000;
    let mut bench = Bench::new(&Capacities { sources: 1_024, blocks: 131_072, prefixes: 64 })?;
    let table: Table<Source, BlockEntry> = Table::open(&bench.pins().maps(), maps::BLOCKLIST)?;
    ensure!(table.read_all()?.is_empty(), "begins empty");
    let address = |number: u32| (0x0a00_0000 + number).to_be_bytes();
    let keys: Vec<Source> = (0..COUNT).map(|number| Source::from_v4_bytes(address(number))).collect();
    let values: Vec<BlockEntry> =
        (0..u64::from(COUNT)).map(|end| BlockEntry::new(u64::MAX - end, BlockOrigin::Import)).collect();
    let mut reported = Vec::new();
    table.insert_all(&keys, &values, |done| reported.push(done))?;
    ensure!(reported.is_sorted() && reported.last() == Some(&keys.len()), "{reported:?}");
    read_back(&table, &keys, &values)?;
    // Again, over what is there.
    table.insert_all(&keys, &values, |_| {})?;
    read_back(&table, &keys, &values)?;
    // An even one, which goes below: the hit changes its value.
    let last = bench.outcome_of(&tcp_syn("10.1.134.158").bytes())?;
    let past = bench.outcome_of(&tcp_syn("10.1.134.160").bytes())?;
    ensure!((last, past) == (Outcome::DropBlocked, Outcome::PassCounted), "{last:?} {past:?}");

    // Every second one, with keys between that are not there.
    let missing = (0..100).map(|number: u32| Source::from_v4_bytes((0xac10_0000 + number).to_be_bytes()));
    let mut half: Vec<Source> = keys.iter().copied().step_by(2).collect();
    for (number, key) in missing.enumerate() {
        half.insert(number * 500, key);
    }
    let removed = table.remove_all(&half)?;
    ensure!(removed == 50_000, "{removed} removed");
    let keys: Vec<Source> = keys.into_iter().skip(1).step_by(2).collect();
    let values: Vec<BlockEntry> = values.into_iter().skip(1).step_by(2).collect();
    read_back(&table, &keys, &values)?;
    let removed = table.remove_all(&keys)?;
    ensure!(removed == 50_000 && table.read_all()?.is_empty(), "{removed} removed in the end");
    Ok(())
}

pub fn batches_of_prefixes() -> Result<()> {
    const COUNT: u16 = 10_000;
    let bench = Bench::new(&Capacities { sources: 1_024, blocks: 64, prefixes: 16_384 })?;
    let table: Table<PrefixKey, BlockEntry> = Table::open(&bench.pins().maps(), maps::BLOCK_PREFIXES)?;
    let key = |number: u16| {
        let [high, low] = number.to_be_bytes();
        PrefixKey::new([10, high, low, 0].into(), 24)
    };
    let keys: Vec<PrefixKey> = (0..COUNT).map(key).collect();
    let values: Vec<BlockEntry> = keys
        .iter()
        .map(|key| BlockEntry::new(NEVER_EXPIRES, BlockOrigin::Import).with_prefix_length(key.length))
        .collect();
    table.insert_all(&keys, &values, |_| {})?;
    read_back(&table, &keys, &values)?;
    let removed = table.remove_all(&keys)?;
    ensure!(removed == keys.len() && table.read_all()?.is_empty(), "{removed} removed");
    Ok(())
}

/// Everything, in any order, each element once; `keys` are sorted.
fn read_back<K, V>(table: &Table<K, V>, keys: &[K], values: &[V]) -> Result<()>
where
    K: bytemuck::Pod + Ord,
    V: bytemuck::Pod + PartialEq,
{
    let mut found = table.read_all()?;
    found.sort_by_key(|(key, _)| *key);
    ensure!(found.len() == keys.len(), "{} elements instead of {}", found.len(), keys.len());
    let is_same =
        found.iter().zip(keys.iter().zip(values)).all(|((key, value), (k, v))| key == k && value == v);
    ensure!(is_same, "other elements than were written");
    Ok(())
}
