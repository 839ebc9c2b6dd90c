"""Checkpoints of a run: numbered directories, each complete or absent, pruned by policy."""

import re
import shutil
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfstable.errors import InputError
from tfstable.files import FORMAT, digest, read_json, stranger, whole, write_json
from tfstable.inputs import living_ids
from tfstable.inputs.living_ids import Ids
from trainers.store.run_directory import CHECKPOINT as OWN

CHECKPOINT, ABOUT, IDS, CALIBRATION = "checkpoint", "about.json", "ids.parquet", "calibration.json"
_OWN = re.compile(OWN)


class Saved(NamedTuple):
    """A checkpoint on disk.

    Attributes:
        number: Its number; they increase.
        last: Last day of the newest window that it has finished; None before there is one.
        step: Batches done of the window after it.
        good: Whether this model's metrics of the next day were in line.
        watch: State of the `LossWatch`.
        begun: The keys that number the batches of the window after `last`, while it is being trained; None at its end.
        ids: Digest of its `ids.parquet`; None without one.
        moments: The moments of numeric features, as `LivingMoments.stored` returns them; None: those of the first fit.
        calibration: Digest of its `calibration.json`; None without one.
    """

    number: int
    last: date | None
    step: int
    good: bool
    watch: dict[str, Any] | None = None
    begun: dict[str, Any] | None = None
    ids: str | None = None
    moments: dict[str, Any] | None = None
    calibration: str | None = None


class Checkpoints:
    """Saves, finds, restores and prunes the checkpoints of a run.

    `directory/N/checkpoint.*` are TensorFlow's files, `directory/N/about.json` is a `Saved`, `directory/N/ids.parquet`
    are the rows of ids in a run that has such features, `directory/N/calibration.json` the maps and histograms in a run
    that calibrates. A checkpoint gets its number by one rename after it is whole on disk. Pruning keeps the newest
    `keep`, the newest that is known to be good, and, for each of the last `keep_weekly` ISO weeks of data, the newest
    that ends a window in it.

    Args:
        directory: Their directory.
        checkpoint: The objects to save.
        keep: Number of newest checkpoints kept, at least 1.
        keep_weekly: Number of weeks.
    """

    def __init__(self, directory: Path, checkpoint: tf.train.Checkpoint, keep: int, keep_weekly: int = 0):
        self._directory, self._checkpoint, self._keep, self._keep_weekly = directory, checkpoint, keep, keep_weekly
        self._highest = 0  # Highest number so far, never reused.

    def all(self) -> list[Saved]:
        """Returns the checkpoints, the oldest first."""
        return [self._known(number) for number in self._numbers()]

    def save(
        self,
        last: date | None,
        step: int,
        watch: dict[str, Any],
        good: bool = False,
        begun: dict[str, Any] | None = None,
        ids: tuple[Ids, Ids | None] | None = None,
        moments: dict[str, Any] | None = None,
        calibration: dict[str, Any] | None = None,
    ) -> Saved:
        """Writes the next checkpoint and prunes the older ones.

        Args:
            last, step, watch, good, begun, moments: See `Saved`.
            ids: The rows of ids before the window after `last`, and now; see `living_ids.write`.
            calibration: Maps and histograms, plain JSON; None: there are none.
        """
        names = [path.name for path in self._directory.glob("[0-9]*")]  # Also those set aside.
        taken = [int(found[0]) for name in names if (found := re.match("[0-9]+", name))]
        saved = Saved(max([self._highest, *taken]) + 1, last, step, good, watch, begun, None, moments)
        for left_over in self._directory.glob(".[0-9]*"):  # Left by a process killed while saving or pruning.
            if re.fullmatch(r"\.[0-9]+\.(partial|pruned)", left_over.name) and not left_over.is_symlink():
                shutil.rmtree(left_over)
        with whole(self._path(saved.number)) as hidden:
            self._checkpoint.write(str(hidden / CHECKPOINT))
            if ids is not None:
                living_ids.write(hidden / IDS, *ids)
                saved = saved._replace(ids=digest(hidden / IDS))
            if calibration is not None:
                write_json(hidden / CALIBRATION, calibration)
                saved = saved._replace(calibration=digest(hidden / CALIBRATION))
            self._write_about(hidden, saved)
        self._prune()
        return saved

    def restore(self, damaged: Callable[[Path, str], None], number: int | None = None) -> Saved | None:
        """Restores the newest readable checkpoint, or the one with a number; returns None without a checkpoint.

        Args:
            damaged: Called with the path of a checkpoint that cannot be read, and the reason, before an older one is
                tried.
            number: The checkpoint to restore.

        Raises:
            InputError: If there are checkpoints and none can be read.
        """
        found, reason = [n for n in self._numbers() if number in (None, n)], ""
        for found_number in reversed(found):
            path = self._path(found_number)
            try:
                saved = self._about(found_number)
                for name, expected in ((IDS, saved.ids), (CALIBRATION, saved.calibration)):
                    if expected is not None:
                        self._check(path / name, expected)
                self._checkpoint.read(str(path / CHECKPOINT)).assert_existing_objects_matched()
                return saved
            except (InputError, tf.errors.OpError, IndexError) as error:  # IndexError: shorter than its index says.
                reason = " ".join(str(error).split())[:200]
                damaged(path, reason)
            except AssertionError:
                raise InputError(
                    f"{path}: holds other variables than this model; it is from another version of the model's code. "
                    "Continue with that version, or start again with --fresh"
                ) from None
        if found:
            raise InputError(
                f"{self._directory}: none of its {len(found)} checkpoints can be read; restore one from a backup, or "
                f"start again with --fresh (the last one tried: {reason})"
            )
        return None

    def ids(self, number: int, dtypes: Mapping[str, str]) -> tuple[Ids, Ids | None]:
        """Returns the rows of ids that a checkpoint holds; see `living_ids.read_maps`."""
        return living_ids.read_maps(self._path(number) / IDS, dtypes)

    def calibration(self, saved: Saved) -> dict[str, Any] | None:
        """Returns the maps and histograms that a checkpoint holds; None if it has none."""
        path = self._path(saved.number) / CALIBRATION
        return None if saved.calibration is None else read_json(path, "restore it from a backup")

    def set_aside(self, path: Path) -> None:
        """Renames a damaged checkpoint, so that no later start tries it again."""
        aside, times = path.with_name(f"{path.name}.damaged"), 1
        while aside.exists():  # It was restored from a backup, and damaged again.
            times += 1
            aside = path.with_name(f"{path.name}.damaged-{times}")
        path.rename(aside)

    def discard(self, above: int, up_to: int) -> None:
        """Gives up the checkpoints of a model that diverged; keeps the newest as N.diverged for inspection.

        Args:
            above, up_to: Their numbers: above < number <= up_to.
        """
        self._highest = up_to
        gone = [saved.number for saved in self.all() if above < saved.number <= up_to]
        for number in gone:
            aside = self._path(number).with_name(f"{number}.diverged")
            for older in self._directory.glob("[0-9]*.diverged"):
                self._delete(older)
            self._path(number).rename(aside)

    def known_good(self) -> Saved:
        """Returns the newest checkpoint that is known to be good, or the oldest if none is."""
        found = self.all()
        return ([saved for saved in found if saved.good] or found[:1])[-1]

    def mark_good(self, saved: Saved) -> None:
        """Notes that the model of a checkpoint is known to be good."""
        if self._path(saved.number).exists():
            self._write_about(self._path(saved.number), saved._replace(good=True))

    def _prune(self) -> None:
        found = self.all()
        kept = {saved.number for saved in found[-self._keep :]}
        kept |= {saved.number for saved in [s for s in found if s.good][-1:]}
        by_week = {saved.last.isocalendar()[:2]: saved.number for saved in found if saved.last and not saved.step}
        kept |= {by_week[week] for week in sorted(by_week, reverse=True)[: self._keep_weekly]}
        for saved in found:
            if saved.number not in kept:
                self._delete(self._path(saved.number))

    def _path(self, number: int) -> Path:
        return self._directory / str(number)

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self._directory.glob("[0-9]*") if re.fullmatch("[0-9]+", path.name))

    def _delete(self, path: Path) -> None:
        """Deletes a checkpoint, unless its directory holds a foreign file."""
        if not path.is_symlink() and stranger(path, _OWN) is None:
            shutil.rmtree(path.rename(self._directory / f".{path.name.split('.')[0]}.pruned"))

    def _known(self, number: int) -> Saved:
        """Reads about.json; returns only the number of a damaged checkpoint."""
        try:
            return self._about(number)
        except InputError:
            return Saved(number, None, 0, good=False)

    def _about(self, number: int) -> Saved:
        """Reads about.json, which holds the digest of TensorFlow's index; the index checks the other files.

        Raises:
            InputError: If either is damaged.
        """
        path, remedy = self._path(number), "an older checkpoint takes its place"
        about = read_json(path / ABOUT, remedy)
        index = path / f"{CHECKPOINT}.index"
        self._check(index, about["index"])
        last = about["last"] and date.fromisoformat(about["last"])
        known = {key: about.get(key) for key in ("begun", "ids", "moments", "calibration")}  # Later than the format.
        return Saved(number, last, about["step"], about["good"], about["watch"], **known)

    @staticmethod
    def _check(file: Path, expected: str) -> None:
        if not file.is_file() or digest(file) != expected:
            raise InputError(f"{file}: damaged, its checksum does not match; an older checkpoint takes its place")

    @staticmethod
    def _write_about(directory: Path, saved: Saved) -> None:
        about = {"format": FORMAT, **saved._asdict(), "index": digest(directory / f"{CHECKPOINT}.index")}
        write_json(directory / ABOUT, about)
