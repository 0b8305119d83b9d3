"""Readers of raw data, one module a source: `read_x(raw, **options) -> SourceData`. `prepare._target_` in conf/data names one."""
