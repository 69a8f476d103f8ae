/* Stands before the system's library in a server: while the file that BROKEN_DISK names exists, the call that is written in it
 * fails as on a disk that is broken. The other calls, and all of them before, are the system's own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int breaks(const char *call) {
    char named[32];
    const char *path = getenv("BROKEN_DISK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t length = read(file, named, sizeof named);
    close(file);
    return length == (ssize_t)strlen(call) && memcmp(named, call, (size_t)length) == 0;
}

static int fail(void) {
    errno = EIO;
    return -1;
}

int fdatasync(int file) { return breaks("fdatasync") ? fail() : (int)syscall(SYS_fdatasync, file); }

int fsync(int file) { return breaks("fsync") ? fail() : (int)syscall(SYS_fsync, file); }

int rename(const char *from, const char *to) {
    return breaks("rename") ? fail() : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
