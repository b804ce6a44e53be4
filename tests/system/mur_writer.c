/* A writer that appends events as mur's own does: flock on the log, inode checked, one write a line.
 * usage: mur_writer LOG AUTHOR COUNT */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void append(const char *path, const char *line, int length) {
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0644);
        struct stat held, named;
        if (fd < 0 || flock(fd, LOCK_EX) != 0) exit(1);
        if (fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino) {
            if (write(fd, line, length) != length) exit(1);
            close(fd);
            return;
        }
        close(fd);
    }
}

int main(int argc, char **argv) {
    char line[512];
    int count = argc == 4 ? atoi(argv[3]) : 0;
    if (count <= 0) return 2;
    for (int n = 0; n < count; n++) {
        int length = snprintf(line, sizeof line,
            "{\"kind\":\"execution\",\"ts\":\"2025-01-01T00:00:%02d.%06dZ\",\"device_id\":\"%s\","
            "\"outcome\":\"%s\",\"duration_ms\":%d,\"exit_code\":0,\"trigger\":\"manual\"}\n",
            n / 1000000, n % 1000000, argv[2], n % 5 ? "success" : "failure", n);
        append(argv[1], line, length);
    }
    return 0;
}
