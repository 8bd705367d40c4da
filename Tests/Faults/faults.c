// A library to be preloaded into a server (LD_PRELOAD), which makes what the operating system does fail, or show another
// time, as a test says: through the file that STARLING_FAULTS names, which both map. Linux only.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct faults {
    int32_t sync_error;      // errno of fsync and fdatasync on a database's files; 0: none
    int32_t write_error;     // errno of writes to them; 0: none
    int64_t clock_offset_ms; // added to the wall clock
    int32_t table_sync_error; // errno of fsync and fdatasync on the database itself, and not on its log; 0: none
    int32_t sync_delay_ms;    // how much longer fsync and fdatasync on a database's files take
};

static volatile struct faults none;
static volatile struct faults *faults = &none;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("STARLING_FAULTS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) faults = memory;
    close(file);
}

// Whether the descriptor is of a database, its log or its index.
static int is_database(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, ".db") != NULL && strstr(path, ".lock") == NULL;
}

static int fails(int32_t error, int descriptor) {
    if (error == 0 || !is_database(descriptor)) return 0;
    errno = error;
    return 1;
}

// Whether the descriptor is of the database itself.
static int is_table(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 3 && memcmp(path + length - 3, ".db", 3) == 0;
}

static int sync_fails(int descriptor) {
    // Not at once: a test that is over is not waited for.
    for (int32_t waited = 0; waited < faults->sync_delay_ms && is_database(descriptor); waited += 10) usleep(10000);
    if (fails(faults->sync_error, descriptor)) return 1;
    if (faults->table_sync_error == 0 || !is_table(descriptor)) return 0;
    errno = faults->table_sync_error;
    return 1;
}

int fsync(int descriptor) {
    return sync_fails(descriptor) ? -1 : (int)syscall(SYS_fsync, descriptor);
}

int fdatasync(int descriptor) {
    return sync_fails(descriptor) ? -1 : (int)syscall(SYS_fdatasync, descriptor);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    if (fails(faults->write_error, descriptor)) return -1;
    return syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    return pwrite64(descriptor, bytes, count, offset);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result != 0 || clock != CLOCK_REALTIME) return result;
    int64_t offset = faults->clock_offset_ms;
    time->tv_sec += offset / 1000;
    time->tv_nsec += offset % 1000 * 1000000;
    if (time->tv_nsec < 0) time->tv_nsec += 1000000000, time->tv_sec -= 1;
    if (time->tv_nsec >= 1000000000) time->tv_nsec -= 1000000000, time->tv_sec += 1;
    return 0;
}
