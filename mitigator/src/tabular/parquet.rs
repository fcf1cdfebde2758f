//! `ParquetWriter`: Apache Parquet by the column writers of the library, without Arrow.
//!
//! Rows are gathered by column until a row group is full. Every column is optional, because any cell may be missing.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::{Cell, Column, Kind, RowWriter};

/// Rows of a group. With the ninety columns of flows, some 12 MB are in memory.
const GROUP_ROWS: usize = 16_384;

/// Writes Parquet.
pub(super) struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Column>,
    gathered: Vec<Gathered>,
    rows: usize,
}

/// The cells of one column: its values, and of each row whether there is one.
struct Gathered {
    values: Values,
    /// 1 or 0, as the format's definition levels.
    presence: Vec<i16>,
}

enum Values {
    Whole(Vec<i64>),
    Real(Vec<f64>),
    Flag(Vec<bool>),
    Text(Vec<ByteArray>),
}

impl Gathered {
    fn of(kind: Kind) -> Self {
        let values = match kind {
            Kind::Integer | Kind::Time => Values::Whole(Vec::new()),
            Kind::Real => Values::Real(Vec::new()),
            Kind::Flag => Values::Flag(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
        };
        Self { values, presence: Vec::new() }
    }

    /// `false` when the cell does not fit.
    fn push(&mut self, cell: &Cell) -> bool {
        match (&mut self.values, cell) {
            (_, Cell::Missing) => {}
            (Values::Whole(values), Cell::Integer(number) | Cell::Time(number)) => values.push(*number),
            (Values::Real(values), Cell::Real(number)) => values.push(*number),
            (Values::Flag(values), Cell::Flag(is_set)) => values.push(*is_set),
            (Values::Text(values), Cell::Text(text)) => {
                values.push(ByteArray::from(text.as_bytes().to_vec()));
            }
            _ => return false,
        }
        self.presence.push(i16::from(*cell != Cell::Missing));
        true
    }

    fn clear(&mut self) {
        match &mut self.values {
            Values::Whole(values) => values.clear(),
            Values::Real(values) => values.clear(),
            Values::Flag(values) => values.clear(),
            Values::Text(values) => values.clear(),
        }
        self.presence.clear();
    }
}

impl<W: Write + Send> ParquetWriter<W> {
    pub(super) fn new(columns: Vec<Column>, out: W) -> Result<Self> {
        let fields =
            columns.iter().map(|column| Ok(Arc::new(field(column)?))).collect::<Result<Vec<TypePtr>>>()?;
        let schema = Type::group_type_builder("table").with_fields(fields).build()?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        let gathered = columns.iter().map(|column| Gathered::of(column.kind)).collect();
        Ok(Self { file, columns, gathered, rows: 0 })
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        for gathered in &mut self.gathered {
            let presence = &gathered.presence;
            match &gathered.values {
                Values::Whole(values) => write_column::<Int64Type, W>(&mut group, values, presence)?,
                Values::Real(values) => write_column::<DoubleType, W>(&mut group, values, presence)?,
                Values::Flag(values) => write_column::<BoolType, W>(&mut group, values, presence)?,
                Values::Text(values) => write_column::<ByteArrayType, W>(&mut group, values, presence)?,
            }
            gathered.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

fn field(column: &Column) -> Result<Type> {
    let (physical, logical) = match column.kind {
        Kind::Integer => (PhysicalType::INT64, None),
        Kind::Real => (PhysicalType::DOUBLE, None),
        Kind::Flag => (PhysicalType::BOOLEAN, None),
        Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    Ok(Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?)
}

fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    presence: &[i16],
) -> Result<()> {
    let mut column = group.next_column()?.context("the schema has a column for each")?;
    column.typed::<T>().write_batch(values, Some(presence), None)?;
    Ok(column.close()?)
}

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn write(&mut self, row: &[Cell]) -> Result<()> {
        for ((gathered, column), cell) in self.gathered.iter_mut().zip(&self.columns).zip(row) {
            if !gathered.push(cell) {
                bail!("{cell:?} does not fit the column `{}`, which is for {:?}", column.name, column.kind);
            }
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        let mut out = self.file.into_inner()?;
        Ok(out.flush()?)
    }
}
