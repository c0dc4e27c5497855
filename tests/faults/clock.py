"""A shifted wall clock for a process: the C library's own answers, so that nothing notices.

Patching `time.time` would leave `datetime.now`, Celery's clock and the event loop's as they are.
"""

import subprocess
from pathlib import Path

SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    const char *seconds = getenv("CLOCK_SHIFT_S");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (found) *found = precise.tv_sec;
    return precise.tv_sec;
}
"""


def shifting_clock(folder: Path) -> str:
    """The library for LD_PRELOAD: it adds CLOCK_SHIFT_S seconds to the time of day."""
    source, library = folder / "shift.c", folder / "shift.so"
    source.write_text(SHIFT)
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return str(library)
