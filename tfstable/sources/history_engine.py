"""Where the statements of histories run: DuckDB or Spark, from Parquet files to Parquet files."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tfstable.errors import InputError


class Engine:
    """An Ibis backend and the directory of its files.

    Args:
        name: "duckdb", or "spark": the session that runs, else one as spark-defaults.conf says, else a local one.
        work: Directory for all files. Spark's executors must reach it.
        memory_gb: Limit of DuckDB's memory; what does not fit goes to `work`.

    Raises:
        InputError: If the engine is not installed, or Spark does not start.
    """

    def __init__(self, name: str, work: Path, memory_gb: float) -> None:
        #: Rows of a day that one statement joins: what bounds memory and disk, whatever the size of the day.
        self.rows_at_a_time = 250_000 if name == "duckdb" else 100_000_000
        self.work = work
        self._name = name
        self._scheme = "file://" if name == "spark" else ""  # Spark's own default may be another file system.
        self._backend = _connect(name, work, memory_gb)

    def table(self, paths: list[Path], name: str) -> Any:
        """Returns the rows of several Parquet files of one schema, under a name that no other table in use has."""
        import ibis

        parts = [
            self._backend.read_parquet(self._address(path), table_name=f"{name}_{i}") for i, path in enumerate(paths)
        ]
        return ibis.union(*parts) if len(parts) > 1 else parts[0]

    def save(self, table: Any, path: Path) -> None:
        """Runs a statement; its result is a Parquet file (Spark: a directory of them) at `path`."""
        try:
            self._run(table, self._address(path))
        except Exception as error:  # Each engine has its own for a full disk and for too little memory.
            reason = " ".join(str(error).split())[:200]
            remedy = "see to memory (--memory-gb) and disk" if self._name == "duckdb" else "see Spark's own log"
            raise InputError(f"{self.work.parent}: {self._name} gave up ({reason}); {remedy}, and rerun") from error

    def _run(self, table: Any, address: str) -> None:
        """Runs a statement in a thread: in the main one DuckDB would swallow what a signal's handler raises."""
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self._backend.to_parquet, table, address)
            try:
                done.result()
            except BaseException:
                if self._name == "duckdb":
                    self._backend.con.interrupt()
                else:
                    self._backend._session.sparkContext.cancelAllJobs()
                raise

    def _address(self, path: Path) -> str:
        return f"{self._scheme}{path.absolute()}"


def remove(path: Path) -> None:
    """Deletes what `Engine.save` wrote."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _connect(engine: str, work: Path, memory_gb: float) -> Any:
    try:
        import ibis

        if engine == "duckdb":
            return ibis.duckdb.connect(memory_limit=f"{memory_gb}GB", temp_directory=str(work / "spill"))
        from pyspark import SparkConf
        from pyspark.sql import SparkSession
    except ImportError as error:
        extra = "history" if engine == "duckdb" else "spark"
        raise InputError(f"--engine {engine}: {error.name} is missing; pip install 'tfstable[{extra}]'") from None
    try:
        conf = SparkConf()
        if not conf.contains("spark.master"):  # One process: its 200 partitions by default would cost minutes.
            conf.setMaster("local[*]").set("spark.ui.enabled", "false")
            conf.set("spark.sql.shuffle.partitions", str(4 * (os.cpu_count() or 1)))
        return ibis.pyspark.connect(SparkSession.builder.config(conf=conf).getOrCreate())
    except Exception as error:  # Spark has its own for a missing Java, a wrong master and more.
        raise InputError(
            f"--engine spark: does not start ({' '.join(str(error).split())[:200]}); it needs Java 17 or newer"
        ) from error
