//! `mitigator blocklist`: all blocks at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use mitigator_common::{BlockOrigin, NEVER_EXPIRES};
use rayon::slice::ParallelSliceMut;
use serde::Serialize;

use super::block::parse_time;
use super::unblock::remember_lifted;
use super::{Answer, Places};
use crate::clock::Clock;
use crate::guard::guard;
use crate::kernel::blocks::{NewBlock, Ranks, StandingBlock};
use crate::kernel::xdp::XdpDataPlane;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::report::file::write_file;
use crate::report::output::{self, Align, print_report, print_text, printable, table};
use crate::report::units;
use crate::store::LiftedBlock;

/// Bad lines that are shown one by one when they are skipped; of more, the number.
const SHOWN_BAD_LINES: usize = 20;

/// Arguments of `mitigator blocklist`.
#[derive(Debug, Args)]
pub(super) struct BlocklistArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what is blocked, most dropped packets first
    ///
    /// DROPPED is counted from when the block was last written: a renewal by the agent, another `block` and an
    /// `import` start it again, and of a single source (an IPv4 address, an IPv6 /64) the 4,294,967,296th packet.
    List {
        /// How many to show; 0 for all
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print one JSON object, with all blocks unless `--limit` is given
        #[arg(long)]
        json: bool,
    },
    /// Block what a file lists: one address or prefix a line, `#` starts a comment
    ///
    /// A comment that begins like `# until 2026-01-31T12:00:00Z` says when the block of its line ends, as
    /// `export` writes it; to other programs it is a comment. Lines whose time is past are skipped and counted.
    Import(ImportArgs),
    /// Write what is blocked to a file that `import` takes; `-` for standard output
    Export {
        /// The file; a regular one is replaced when it is complete, and keeps its mode and owner
        file: PathBuf,
    },
    /// Take all blocks back
    ///
    /// Sources that the agent had blocked are left alone, by the next agent too, until each block would have ended;
    /// `mitigator block` ends that for a source, and `mitigator detach` for all.
    Clear {
        /// Only blocks from there
        #[arg(long)]
        origin: Option<Origin>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The file; `-` for standard input
    file: PathBuf,
    /// Import the good lines although there are bad ones
    #[arg(long)]
    skip_bad: bool,
    /// End of the blocks whose lines name none, for example 1h; without it, until they are cleared
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Take prefixes wider than /16 (IPv4) or /32 (IPv6) too
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Origin {
    /// `mitigator block`
    Operator,
    /// The agent's verdicts
    Agent,
    /// `mitigator blocklist import`
    Import,
}

impl From<Origin> for BlockOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Operator => Self::Operator,
            Origin::Agent => Self::Agent,
            Origin::Import => Self::Import,
        }
    }
}

impl BlocklistArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        match &self.action {
            Action::List { limit, json } => list(&places.open_data_plane()?, *limit, *json),
            Action::Import(args) => args.run(places),
            Action::Export { file } => export(&places.open_data_plane()?, file),
            Action::Clear { origin, json } => clear(places, *origin, *json),
        }
    }
}

#[derive(Serialize)]
struct ListReport {
    blocks: Vec<Row>,
    /// Blocks that stand, shown or not.
    standing: usize,
}

#[derive(Serialize)]
struct Row {
    target: Target,
    origin: &'static str,
    hits: u64,
    until_unix_ms: Option<u64>,
    /// Whether the allow list lets a part of it through.
    excepted: bool,
}

/// The blocks that have not ended, whoever asked for them.
pub(super) fn standing(plane: &XdpDataPlane, now: Timestamp) -> Result<Vec<StandingBlock>> {
    let mut blocks = plane.blocks().standing()?;
    blocks.retain(|block| !block.entry.is_expired(now.ns));
    Ok(blocks)
}

fn list(plane: &XdpDataPlane, limit: Option<usize>, json: bool) -> Result<Answer> {
    let clock = Clock::now();
    let mut blocks = standing(plane, clock.monotonic())?;
    let count = blocks.len();
    blocks.sort_by(|a, b| b.entry.hits.cmp(&a.entry.hits).then(a.target.cmp(&b.target)));
    let limit = limit.unwrap_or(if json { 0 } else { 50 });
    if limit > 0 {
        blocks.truncate(limit);
    }
    let rows = blocks
        .iter()
        .map(|block| Row {
            target: block.target,
            origin: block.entry.origin().name(),
            hits: block.entry.hits,
            until_unix_ms: (block.entry.expires_at_ns != NEVER_EXPIRES)
                .then(|| clock.to_unix_ms(Timestamp::from_ns(block.entry.expires_at_ns))),
            excepted: block.entry.has_exceptions(),
        })
        .collect();
    let report = ListReport { blocks: rows, standing: count };
    print_report(json, &report, || list_text(&report))?;
    Ok(Answer::Done)
}

fn list_text(report: &ListReport) -> String {
    if report.blocks.is_empty() {
        return "nothing is blocked\n".to_owned();
    }
    let heading = [
        ("TARGET", Align::Left),
        ("DROPPED", Align::Right),
        ("BY", Align::Left),
        ("UNTIL", Align::Left),
        ("", Align::Left),
    ];
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let rows: Vec<Vec<String>> = report
        .blocks
        .iter()
        .map(|row| {
            vec![
                row.target.to_string(),
                units::count(row.hits as f64),
                row.origin.to_owned(),
                row.until_unix_ms.map_or_else(|| "unblocked".to_owned(), units::unix_ms),
                if row.excepted { "except what is allowed".to_owned() } else { String::new() },
            ]
        })
        .collect();
    let more = report.standing - report.blocks.len();
    let note = if more > 0 { format!("and {more} more; `--limit 0` shows all\n") } else { String::new() };
    table(&heading, &rows) + &note
}

#[derive(Serialize)]
struct ImportReport {
    imported: usize,
    /// Of them, sharing an address with the allow list, which beats them.
    excepted: usize,
    /// Bad ones.
    skipped_lines: usize,
    /// Lines whose time was past.
    ended_lines: usize,
    /// Lines whose prefix had bits past its length, which do not count.
    masked_lines: usize,
}

/// The good lines of a file, and what is wrong with the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    entries: Vec<Entry>,
    /// Lines whose time was past.
    ended: usize,
    /// Lines whose prefix had bits past its length.
    masked: usize,
    bad: Vec<String>,
}

/// A good line.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    target: Target,
    /// `None`: the line names no end.
    until_unix_ms: Option<u64>,
}

impl ImportArgs {
    fn run(&self, places: &Places) -> Result<Answer> {
        let name = if self.file == Path::new("-") { "standard input".to_owned() } else { shown(&self.file) };
        let clock = Clock::now();
        let parsed = parse(open(&self.file)?, self.force, clock.unix_ms())
            .with_context(|| format!("cannot read {name}"))?;
        if !parsed.bad.is_empty() {
            self.complain(&name, &parsed.bad)?;
        }
        let plane = places.open_data_plane()?;
        let blocks = self.blocks(&parsed.entries, &clock, plane.blocks().ranks());
        make_sure_it_fits(&plane, &blocks)?;
        guard(plane.blocks())?;
        let bar = progress_bar(blocks.len());
        let excepted = plane.blocks().block_all(&blocks, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let report = ImportReport {
            imported: blocks.len(),
            excepted,
            skipped_lines: parsed.bad.len(),
            ended_lines: parsed.ended,
            masked_lines: parsed.masked,
        };
        print_report(self.json, &report, || import_text(&report))?;
        Ok(Answer::Done)
    }

    /// One block per target, by rank; of a target that is listed twice, the one that ends later.
    fn blocks(&self, entries: &[Entry], clock: &Clock, ranks: Ranks) -> Vec<NewBlock> {
        let end_of_others = self.duration.map_or(NEVER_EXPIRES, |duration| (clock.monotonic() + duration).ns);
        let mut blocks: Vec<NewBlock> = entries
            .iter()
            .map(|Entry { target, until_unix_ms }| NewBlock {
                target: *target,
                expires_at_ns: until_unix_ms.map_or(end_of_others, |until| clock.from_unix_ms(until).ns),
                origin: BlockOrigin::Import,
            })
            .collect();
        blocks.par_sort_unstable_by(|a, b| {
            let later_first = || a.target.cmp(&b.target).then_with(|| b.expires_at_ns.cmp(&a.expires_at_ns));
            ranks.of(&a.target).cmp(&ranks.of(&b.target)).then_with(later_first)
        });
        blocks.dedup_by_key(|block| block.target);
        blocks
    }

    fn complain(&self, name: &str, bad: &[String]) -> Result<()> {
        let shown = if self.skip_bad { SHOWN_BAD_LINES } else { bad.len() };
        for line in bad.iter().take(shown) {
            output::complain(format_args!("{name}: {line}"));
        }
        if self.skip_bad {
            return Ok(());
        }
        bail!("{} bad lines in {name}, so nothing was imported; `--skip-bad` imports the others", bad.len());
    }
}

/// Refuses before anything is written.
fn make_sure_it_fits(plane: &XdpDataPlane, blocks: &[NewBlock]) -> Result<()> {
    let (sources, prefixes) = plane.blocks().fill()?;
    // Then there is no need to look for those that are there.
    let prefixes_given = blocks.iter().filter(|block| matches!(block.target, Target::Prefix(_))).count();
    if prefixes_given <= prefixes.free() && blocks.len() - prefixes_given <= sources.free() {
        return Ok(());
    }
    let (new_sources, new_prefixes) = plane.blocks().count_new(blocks)?;
    for (what, setting, new, fill) in
        [("addresses", "blocks", new_sources, sources), ("prefixes", "prefixes", new_prefixes, prefixes)]
    {
        let free = fill.free();
        if new > free {
            bail!(
                "{new} new {what} do not fit: {free} of {} places are free, so nothing was imported; raise \
                 `{setting}` under [capacities] in the configuration, then `mitigator detach` and `mitigator run`",
                fill.capacity
            );
        }
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    printable(&file.display().to_string())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", shown(file)))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, opened)))
}

fn parse(mut lines: impl BufRead, force: bool, now_unix_ms: u64) -> Result<Parsed> {
    let mut parsed = Parsed::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // Most lines are an address and nothing else.
        if let Some(target) = str::from_utf8(line.trim_ascii()).ok().and_then(Target::of_address) {
            parsed.entries.push(Entry { target, until_unix_ms: None });
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        // Windows programs begin a text with a byte order mark.
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { &text };
        let (entry, comment) = text.split_once('#').unwrap_or((text, ""));
        if entry.trim().is_empty() {
            continue;
        }
        match parse_entry(entry, comment) {
            Ok(Entry { target, .. }) if target.is_too_wide() && !force => {
                parsed.bad.push(format!(
                    "line {number}: {target} is wider than /16 (IPv4) or /32 (IPv6); `--force` takes it"
                ));
            }
            Ok(Entry { until_unix_ms: Some(until), .. }) if until <= now_unix_ms => parsed.ended += 1,
            Ok(good) => {
                parsed.entries.push(good);
                parsed.masked += usize::from(has_host_bits(entry.trim()));
            }
            Err(error) => parsed.bad.push(format!("line {number}: {error}")),
        }
    }
    Ok(parsed)
}

fn parse_entry(entry: &str, comment: &str) -> Result<Entry> {
    Ok(Entry { target: entry.trim().parse()?, until_unix_ms: end_in(comment)? })
}

/// As 192.0.2.7/24, which is taken as 192.0.2.0/24.
fn has_host_bits(entry: &str) -> bool {
    entry.contains('/') && entry.parse::<IpNet>().is_ok_and(|prefix| prefix.addr() != prefix.network())
}

/// The end that a comment names, as `export` writes it.
///
/// # Errors
///
/// When it begins with `until` and a number that is no time: without an end, the block would stay for ever.
fn end_in(comment: &str) -> Result<Option<u64>> {
    let time = comment.trim_start().strip_prefix("until ").unwrap_or_default().trim_start();
    let time = time.split([' ', '\t', ',', '\r', '\n']).next().unwrap_or_default();
    if !time.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    let end = units::parse_unix_ms(time);
    end.map(Some).with_context(|| format!("until `{time}`: write it like 2026-01-31T12:00:00Z"))
}

fn progress_bar(length: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {elapsed}, {eta} to go");
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn import_text(report: &ImportReport) -> String {
    let mut text = format!("blocked {} addresses and prefixes\n", report.imported);
    if report.excepted > 0 {
        text.push_str(&format!(
            "{} of them share an address with the allow list, which beats them\n",
            report.excepted
        ));
    }
    if report.skipped_lines > 0 {
        text.push_str(&format!("{} bad lines were skipped\n", report.skipped_lines));
    }
    if report.masked_lines > 0 {
        text.push_str(&format!(
            "{} prefixes had host bits, which do not count: 192.0.2.7/24 is taken as 192.0.2.0/24\n",
            report.masked_lines
        ));
    }
    if report.ended_lines > 0 {
        text.push_str(&format!("{} lines were skipped, as their time is past\n", report.ended_lines));
    }
    text
}

fn export(plane: &XdpDataPlane, file: &Path) -> Result<Answer> {
    let clock = Clock::now();
    let mut blocks = standing(plane, clock.monotonic())?;
    blocks.sort_by_key(|block| block.target);
    if file == Path::new("-") || is_standard_output(file) {
        write_list(&mut BufWriter::new(io::stdout().lock()), &blocks, &clock)?;
        return Ok(Answer::Done);
    }
    write_file(file, |out| write_list(out, &blocks, &clock))
        .with_context(|| format!("cannot write {}", shown(file)))?;
    print_text(&format!("wrote {} blocks to {}\n", blocks.len(), shown(file)))?;
    Ok(Answer::Done)
}

/// Under another name, as `/dev/stdout`: what it leads to is the shell's to make, and may be appended to.
fn is_standard_output(file: &Path) -> bool {
    let open = nix::sys::stat::fstat(io::stdout());
    let named = nix::sys::stat::stat(file);
    matches!((open, named), (Ok(open), Ok(named)) if (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino))
}

fn write_list(out: &mut impl Write, blocks: &[StandingBlock], clock: &Clock) -> Result<()> {
    writeln!(out, "# mitigator blocklist, {} entries, {}", blocks.len(), units::unix_ms(clock.unix_ms()))?;
    for StandingBlock { target, entry } in blocks {
        let origin = entry.origin().name();
        if entry.expires_at_ns == NEVER_EXPIRES {
            writeln!(out, "{target} # by {origin}")?;
        } else {
            let until = clock.to_unix_ms(Timestamp::from_ns(entry.expires_at_ns));
            // `end_in` reads it.
            writeln!(out, "{target} # until {}, by {origin}", units::unix_ms(until))?;
        }
    }
    out.flush()?;
    Ok(())
}

#[derive(Serialize)]
struct ClearReport {
    removed: usize,
    /// Of them, those of the agent, which leaves their sources alone.
    left_alone: usize,
}

fn clear(places: &Places, origin: Option<Origin>, json: bool) -> Result<Answer> {
    let plane = places.open_data_plane()?;
    let clock = Clock::now();
    let mut blocks = plane.blocks().standing()?;
    blocks.retain(|block| origin.is_none_or(|origin| block.entry.origin() == origin.into()));
    let targets: Vec<Target> = blocks.iter().map(|block| block.target).collect();
    blocks.retain(|block| !block.entry.is_expired(clock.monotonic().ns));
    let lifted = remember_lifted(places, &blocks, &clock);
    let report = ClearReport { removed: plane.blocks().unblock_all(&targets)?, left_alone: lifted.len() };
    print_report(json, &report, || clear_text(&report, &lifted))?;
    Ok(Answer::Done)
}

fn clear_text(report: &ClearReport, lifted: &[LiftedBlock]) -> String {
    let last = lifted.iter().map(|block| block.until_unix_ms).max();
    let left_alone = last.map_or_else(String::new, |last| {
        format!(
            "; {} of them were the agent's, which leaves these sources alone until their blocks would have ended, the \
             last at {}; `mitigator block` of a source ends that",
            lifted.len(),
            units::unix_ms(last)
        )
    });
    format!("removed {} blocks{left_alone}\n", report.removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_bad_line_by_its_number() {
        let text =
            b"# feed\n192.0.2.7\n\n 192.0.2.0/24 # net\nnonsense\n2001:db8::1\r\n10.0.0.0/8\n\xff\xfe\n\
              192.0.2.9 # until 2026-01-31\n";
        let parsed = parse(&text[..], false, 0).unwrap();
        let shown: Vec<String> = parsed.entries.iter().map(|entry| entry.target.to_string()).collect();
        assert_eq!(shown, ["192.0.2.7", "192.0.2.0/24", "2001:db8::/64"]);
        let numbers: Vec<&str> = parsed.bad.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(numbers, ["line 5", "line 7", "line 8", "line 9"]);
        assert_eq!(parse(&b"10.0.0.0/8"[..], true, 0).unwrap().bad, Vec::<String>::new());
    }

    #[test]
    fn takes_what_other_programs_write() {
        let text = "\u{feff}192.0.2.7\r\n192.0.2.7/16\n2001:db8::7/48\n2001:db8::7\n192.0.2.9/32\n";
        let parsed = parse(text.as_bytes(), false, 0).unwrap();
        let shown: Vec<String> = parsed.entries.iter().map(|entry| entry.target.to_string()).collect();
        assert_eq!(shown, ["192.0.2.7", "192.0.0.0/16", "2001:db8::/48", "2001:db8::/64", "192.0.2.9"]);
        assert_eq!((parsed.masked, parsed.bad.len()), (2, 0));
        assert_eq!(parse("192.0.2.7\n\u{feff}192.0.2.8".as_bytes(), false, 0).unwrap().bad.len(), 1);
    }

    #[test]
    fn a_comment_may_name_the_end_of_its_block() {
        let noon = 1_769_860_800_000;
        for (line, now, expected) in [
            ("192.0.2.7 # until 2026-01-31T12:00:00Z, by agent", noon - 1, Some(Some(noon))),
            ("192.0.2.7 #until  2026-01-31T12:00:00Z\r\n", noon - 1, Some(Some(noon))),
            ("192.0.2.7 # until 2026-01-31T12:00:00Z", noon, None),
            ("192.0.2.7 # not until 2026-01-31T12:00:00Z", noon, Some(None)),
            ("192.0.2.7 # until they behave", noon, Some(None)),
            ("192.0.2.7", noon, Some(None)),
        ] {
            let parsed = parse(line.as_bytes(), false, now).unwrap();
            assert_eq!(parsed.bad, Vec::<String>::new(), "{line}");
            assert_eq!(parsed.entries.first().map(|entry| entry.until_unix_ms), expected, "{line}");
            assert_eq!(parsed.ended, usize::from(expected.is_none()), "{line}");
        }
    }
}
