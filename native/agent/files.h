/* Small pieces of file handling that never follow a name out of where it belongs. */
#ifndef WIRT_AGENT_FILES_H
#define WIRT_AGENT_FILES_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* openat2(2) with `root` as "/": links and ".." cannot lead out of it. -1 and errno. */
int open_in_root(int root, const char *path, int flags, mode_t mode);

/* mkdir -p below `root`, in the same way. 0 or -errno. */
int make_directories(int root, const char *path, mode_t mode);

/*
 * Replaces the file `path` below `root` by a new one with this content, whatever it was (a link is
 * replaced, not followed; a directory is an error). 0 or -errno.
 */
int replace_file(int root, const char *path, const void *content, size_t length, mode_t mode);

/* Opens the directory that holds `path` and points `*name` at its last component. -1 and errno. */
int open_parent(int root, const char *path, const char **name);

/* Writes all of it, waiting where necessary. 0 or -errno. */
int write_all(int fd, const void *bytes, size_t length);

/* Reads up to `length` bytes until the end of the file. Bytes or -errno. */
ssize_t read_all(int fd, void *bytes, size_t length);

/* Reads a small file (of /proc, for example) as a string. Bytes or -errno. */
ssize_t read_text(const char *path, char *text, size_t size);

/* Writes a short string to an existing file (of /proc or /sys). 0 or -errno. */
int write_text(const char *path, const char *text);

#endif
