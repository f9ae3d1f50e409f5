// Sets the wall clock of one process: loaded before everything else (LD_PRELOAD), it adds the seconds in the file
// $AFPOOLS_CLOCK (eight bytes, a signed number in native byte order) to the system's time.
// The file is shared memory, so the clock can be stepped while the process runs.
//
// Monotonic clocks, and all sleeping and waiting, stay the system's: that is what a stepped clock means.
// Debian's libfaketime was tried first, but it makes Python's time.sleep fail with EINVAL in threads (0.9.10).

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace {

const volatile std::int64_t *shared() {
    const char *path = std::getenv("AFPOOLS_CLOCK");
    const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return nullptr;
    void *mapped = mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    return mapped == MAP_FAILED ? nullptr : static_cast<std::int64_t *>(mapped);
}

std::int64_t offset() {
    static const volatile std::int64_t *const seconds = shared();
    return seconds ? *seconds : 0;
}

using GetTime = int (*)(clockid_t, timespec *);

GetTime system_clock() {
    static const GetTime found = reinterpret_cast<GetTime>(dlsym(RTLD_NEXT, "clock_gettime"));
    return found;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec *now) noexcept {
    const int result = system_clock()(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return result;
}

extern "C" int gettimeofday(timeval *now, void *) noexcept {
    timespec precise;
    const int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

extern "C" time_t time(time_t *now) noexcept {
    timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
