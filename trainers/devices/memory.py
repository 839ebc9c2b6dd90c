"""How a process handles the memory that it frees."""

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_TRIM_THRESHOLD and so on, of malloc.h.


def share_heap() -> None:
    """Lets all threads that start from now on allocate from one heap.

    By default glibc makes up to eight per core. The threads of TensorFlow and of the readers then each fill one to its
    own peak, and the process grows for dozens of windows. KuaiRand trains as fast with one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keeps what a train step frees for the next one.

    Otherwise glibc gives large tensors back to the system, which must clear their pages again in every step: 2% of a
    step of layers of 2048, 5% of a run of KuaiRand from Parquet. The process then holds what its largest step needs.
    Other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Returns garbage and free memory to the system after large work such as an export.

    Graphs are reference cycles. With this many live objects Python collects so rarely that several exports pile up.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
