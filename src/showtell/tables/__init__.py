"""One door to tables: CSV, JSON Lines, JSON and Parquet, read and written row by row."""

from showtell.tables.reading import (
    TABLE_SUFFIXES,
    ParquetTable,
    Table,
    clean_name,
    open_table,
    read_columns,
)
from showtell.tables.writing import (
    COLUMN_TYPES,
    FIXED_COLUMNS,
    STATUSES,
    RowWriter,
    Status,
    TableFormat,
    table_format,
    write_columns,
    write_rows,
)

__all__ = [
    "COLUMN_TYPES",
    "FIXED_COLUMNS",
    "STATUSES",
    "TABLE_SUFFIXES",
    "ParquetTable",
    "RowWriter",
    "Status",
    "Table",
    "TableFormat",
    "clean_name",
    "open_table",
    "read_columns",
    "table_format",
    "write_columns",
    "write_rows",
]
