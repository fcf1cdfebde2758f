//! Tables that are full, flooded, or written by the hundred thousand; each trial on maps of its own.

use std::mem::offset_of;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use mitigator::clock::Clock;
use mitigator::config::Capacities;
use mitigator::kernel::blocks::{BlockTables, NewBlock};
use mitigator::kernel::maps;
use mitigator::kernel::pins::Pins;
use mitigator::kernel::table::Table;
use mitigator::pipeline::target::Target;
use mitigator_common::{
    BlockEntry, BlockOrigin, BlockTerms, NEVER_EXPIRES, Outcome, PrefixKey, Source, SourceCounters,
};
use mitigator_ebpf::block_table::LiveHeader;
use mitigator_tests::packet::{tcp_syn, udp};

use super::bench::{Bench, Change, difference};

pub fn full_tables_say_so() -> Result<()> {
    const ROOM: u32 = 64;
    let mut bench = Bench::new(&Capacities { sources: 1_024, blocks: ROOM, prefixes: ROOM })?;
    let targets: [fn(u8) -> Target; 2] = [
        |number| Target::Source(Source::from_v4_bytes([10, 0, 0, number])),
        |number| Target::Prefix(PrefixKey::new([10, 0, number, 0].into(), 24)),
    ];
    for (target, table) in targets.into_iter().zip([maps::BLOCK_TABLE, maps::BLOCK_PREFIXES]) {
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

/// Of sources that come one after the other, the first have rows, and none loses it before it has rested.
pub fn stays_within_capacity() -> Result<()> {
    const SOURCES: u32 = 20_000;
    // The least that there can be.
    let mut bench = Bench::new(&Capacities { sources: 1_024, blocks: 64, prefixes: 64 })?;
    let rows = bench.plane().sources().capacity();
    ensure!((16_384..17_000).contains(&rows), "{rows} rows");
    let packet = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        udp(&format!("10.0.{high}.{low}"), 40_000).bytes()
    };
    let send = |bench: &mut Bench, numbers: std::ops::Range<u32>| -> Result<u64> {
        let before = bench.plane().outcomes()?;
        for number in numbers.clone() {
            if number % 128 == 0 {
                bench.change_cpus(|state| (state.made, state.crowded_until) = (0, 0))?;
            }
            bench.program().test_run(&packet(number), 1)?;
        }
        let change = difference(&bench.plane().outcomes()?, &before);
        ensure!(change.iter().sum::<u64>() == numbers.len() as u64, "{change:?}");
        Ok(change[Outcome::PassCounted as usize])
    };
    let evicted = |bench: &Bench| -> Result<u64> {
        Ok(bench.plane().cpus().read()?.iter().map(|state| state.evicted).sum())
    };
    let began = Clock::now().monotonic();
    let counted = send(&mut bench, 0..SOURCES)?;
    let found: Vec<(Source, SourceCounters)> = bench.plane().sources().read_all()?;
    ensure!(found.len() == bench.plane().sources().count() && found.len() <= rows, "{} rows", found.len());
    ensure!(found.iter().all(|(_, row)| row.packets == 1), "a row is somebody else's");
    // On a slow machine the first ones have rested before the last ones come.
    if Clock::now().monotonic().since(began) < Duration::from_secs(2) {
        ensure!(counted == found.len() as u64 && counted >= 14_000, "{counted}, {} rows", found.len());
        let first = (0x0a00_0000..0x0a00_0000 + 5_000_u64).map(Source::from_number);
        let known: std::collections::HashSet<Source> = found.iter().map(|(source, _)| *source).collect();
        let first = first.filter(|source| known.contains(source)).count();
        ensure!(first >= 4_900, "only {first} of the first 5,000 have rows");
        ensure!(evicted(&bench)? == 0, "rows went to others before they rested");
    }
    #[expect(clippy::disallowed_methods, reason = "suites watch real time")]
    std::thread::sleep(Duration::from_millis(2_300));
    let (counted, evicted) = (send(&mut bench, SOURCES..SOURCES + 512)?, evicted(&bench)?);
    ensure!(counted >= 400 && evicted >= 200, "{counted} of 512 new ones have rows, {evicted} evicted");
    ensure!(bench.plane().sources().count() <= rows, "more rows than there are");
    let latest = Source::from_number(0x0a00_0000 + u64::from(SOURCES));
    let row = bench.counters_of(latest)?;
    ensure!(row.packets <= 1, "{row:?} of another source");
    Ok(())
}

pub fn many_blocks() -> Result<()> {
    const COUNT: u32 = 100_000;
    let mut bench = Bench::new(&Capacities { sources: 1_024, blocks: COUNT, prefixes: 64 })?;
    let tables = BlockTables::open(&bench.pins())?;
    ensure!(tables.standing()?.is_empty(), "begins empty");
    let target = |number: u32| Target::Source(Source::from_v4_bytes((0x0a00_0000 + number).to_be_bytes()));
    let end = |number: u32| BlockTerms::UNIT_NS * (1_000_000 + u64::from(number));
    let block = |number: u32| NewBlock {
        target: target(number),
        expires_at_ns: end(number),
        origin: BlockOrigin::Import,
    };
    let blocks: Vec<NewBlock> = (0..COUNT).map(block).collect();
    // The first ones are dropped before the table grows for the others, and their hits go along.
    tables.block_all(&blocks[..200], |_| {})?;
    for number in 0..200 {
        bench.outcome_of_all(&udp(&format!("10.0.0.{number}"), 40_000).bytes(), number + 1)?;
    }
    let mut reported = Vec::new();
    tables.block_all(&blocks[200..], |done| reported.push(done))?;
    ensure!(reported.is_sorted() && reported.last() == Some(&(blocks.len() - 200)), "{reported:?}");
    read_back(&tables, &blocks, |number| if number < 200 { number + 1 } else { 0 })?;
    // Again, over what is there, by somebody who knew the smaller table.
    bench.plane().blocks().block_all(&blocks, |_| {})?;
    read_back(&tables, &blocks, |_| 0)?;
    let error = tables.block_all(&[block(COUNT)], |_| {}).err().context("one too many is written")?;
    ensure!(format!("{error:#}").contains("100000 entries"), "{error:#}");
    let last = bench.outcome_of(&udp("10.1.134.159", 40_000).bytes())?;
    let past = bench.outcome_of(&udp("10.1.134.160", 40_000).bytes())?;
    ensure!((last, past) == (Outcome::DropBlocked, Outcome::PassCounted), "{last:?} {past:?}");

    // Every second one, with targets between that are not there; and their places are taken again.
    for _ in 0..3 {
        let half: Vec<Target> = (0..COUNT + 1_000).step_by(2).map(target).collect();
        let removed = tables.unblock_all(&half)?;
        ensure!(removed == 50_000, "{removed} removed");
        let odd: Vec<NewBlock> = blocks.iter().copied().skip(1).step_by(2).collect();
        let standing = tables.standing()?.len();
        ensure!(standing == odd.len(), "{standing} left");
        tables.remove_expired(0)?;
        tables.block_all(&blocks, |_| {})?;
    }
    ensure!(tables.remove_expired(end(49_999))? == 50_000, "half of them are over");
    read_back(&tables, &blocks[50_000..], |_| 0)?;
    let (first, last) = (udp("10.0.0.1", 40_000).bytes(), udp("10.1.134.159", 40_000).bytes());
    let outcomes = (bench.outcome_of(&first)?, bench.outcome_of(&last)?);
    ensure!(outcomes == (Outcome::PassCounted, Outcome::DropBlocked), "{outcomes:?}");
    for number in (50_000..COUNT).step_by(17) {
        let [.., high, low] = number.to_be_bytes();
        let source = format!("10.{}.{high}.{low}", number >> 16);
        let outcome = bench.outcome_of(&udp(&source, 40_000).bytes())?;
        ensure!(
            outcome == Outcome::DropBlocked,
            "{source}, whose neighbours' marks were cleared: {outcome:?}"
        );
    }
    let all: Vec<Target> = blocks.iter().map(|block| block.target).collect();
    let marks = marks_set(&bench.pins())?;
    ensure!((1..=50_000).contains(&marks), "{marks} marks of 50,000 blocks");
    ensure!(summary(&bench.pins())? == u64::MAX, "the summary of 50,000 blocks has gaps");
    ensure!(tables.unblock_all(&all)? == 50_000 && tables.standing()?.is_empty(), "something is left");
    tables.remove_expired(0)?;
    ensure!(marks_set(&bench.pins())? == 0, "marks of nobody are left");
    ensure!(summary(&bench.pins())? == 0, "the summary tells of nobody");
    // One list after the other, each in place of the last, while nobody clears away.
    for round in 1..8 {
        let list: Vec<NewBlock> = (round * COUNT..(round + 1) * COUNT).map(block).collect();
        tables.block_all(&list, |_| {}).with_context(|| format!("list {round}"))?;
        read_back(&tables, &list, |_| 0).with_context(|| format!("list {round}"))?;
        let targets: Vec<Target> = list.iter().map(|block| block.target).collect();
        tables.unblock_all(&targets)?;
    }
    Ok(())
}

/// Marks of the block table, in both of its halves.
fn marks_set(pins: &Pins) -> Result<u32> {
    let map = MapData::from_pin(pins.maps().join(maps::BLOCK_MARKS))?;
    let marks: Array<MapData, u64> = Array::try_from(Map::Array(map))?;
    marks.iter().try_fold(0, |set, word| Ok(set + word?.count_ones()))
}

/// All marks of the block table in one word.
fn summary(pins: &Pins) -> Result<u64> {
    let map = MapData::from_pin(pins.maps().join(maps::BLOCK_TABLE))?;
    let lines: Array<MapData, [u64; 8]> = Array::try_from(Map::Array(map))?;
    Ok(lines.get(&0, 0)?[offset_of!(LiveHeader, summary) / size_of::<u64>()])
}

/// None slips through, and each is counted for its block, whatever becomes of the table meanwhile.
pub fn growth_under_fire() -> Result<()> {
    const OTHERS: u32 = 50_000;
    const AT_ONCE: u32 = 200;
    let mut bench = Bench::new(&Capacities { sources: 1_024, blocks: 65_536, prefixes: 64 })?;
    bench.change(Change::Block("192.0.2.7"))?;
    let pins = bench.pins();
    let packet = udp("192.0.2.7", 40_000).bytes();
    let mut dropped = 0;
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            let tables = BlockTables::open(&pins)?;
            let others: Vec<NewBlock> = (0..OTHERS)
                .map(|number| NewBlock {
                    target: Target::Source(Source::from_v4_bytes((0x0a00_0000 + number).to_be_bytes())),
                    expires_at_ns: BlockTerms::UNIT_NS,
                    origin: BlockOrigin::Import,
                })
                .collect();
            for (few, many) in [(100, 1_000), (10_000, 50_000)] {
                tables.block_all(&others[..few], |_| {})?;
                tables.block_all(&others[..many], |_| {})?;
                ensure!(tables.remove_expired(2 * BlockTerms::UNIT_NS)? == many, "not all were over");
            }
            Ok(())
        });
        while !writer.is_finished() {
            let outcome = bench.outcome_of_all(&packet, AT_ONCE)?;
            ensure!(outcome == Outcome::DropBlocked, "{} after {dropped} packets", outcome.name());
            dropped += u64::from(AT_ONCE);
        }
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    })?;
    ensure!(dropped > 0, "no packet met the table");
    let standing = bench.plane().blocks().standing()?;
    let hits: Vec<u64> = standing.iter().map(|block| block.entry.hits).collect();
    ensure!(hits == [dropped], "{hits:?} hits of {dropped} packets");
    Ok(())
}

/// The numbers of these sources stand for free places in the table's lines.
pub fn reserved_sources() -> Result<()> {
    let mut bench = Bench::small()?;
    for source in ["0.0.0.0", "0:1::1", "0:1:0:1::1", "0:1:0:2::1", "::5"] {
        let packet = tcp_syn(source).bytes();
        let before = bench.outcome_of(&packet)?;
        bench.change(Change::Block("192.0.2.7"))?;
        bench.change(Change::Block(source))?;
        let (blocked, hits) = (bench.outcome_of_all(&packet, 7)?, bench.hits()?);
        bench.change(Change::Unblock(source))?;
        let after = bench.outcome_of(&packet)?;
        let outcomes = [before, blocked, after];
        ensure!(
            outcomes == [Outcome::PassCounted, Outcome::DropBlocked, Outcome::PassCounted] && hits == 7,
            "{source}: {outcomes:?}, {hits} hits"
        );
        bench.clear()?;
    }
    Ok(())
}

/// All of them, each once, with so many hits.
fn read_back(tables: &BlockTables, blocks: &[NewBlock], hits: impl Fn(u32) -> u32) -> Result<()> {
    let mut standing = tables.standing()?;
    standing.sort_by_key(|block| block.target);
    ensure!(standing.len() == blocks.len(), "{} blocks instead of {}", standing.len(), blocks.len());
    for (number, (found, block)) in (0..).zip(standing.iter().zip(blocks)) {
        let mut entry = BlockEntry::new(block.expires_at_ns, block.origin);
        entry.hits = hits(number).into();
        ensure!((found.target, found.entry) == (block.target, entry), "{number}: {found:?}");
        ensure!(tables.get(&block.target)? == Some(entry), "{number} is not found by its target");
    }
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
    let mut found = table.read_all()?;
    found.sort_by_key(|(key, _)| *key);
    ensure!(found.iter().copied().eq(keys.iter().copied().zip(values)), "other elements than were written");
    let removed = table.remove_all(&keys)?;
    ensure!(removed == keys.len() && table.read_all()?.is_empty(), "{removed} removed");
    Ok(())
}
