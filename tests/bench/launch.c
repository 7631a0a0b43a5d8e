/*
 * launch.c - runs a program and writes "seconds peak_kib status" to file descriptor 3.
 *
 *   launch PROGRAM ARGUMENT...   (fd 3 open for writing)
 *
 * A program of its own because Linux counts the memory of whoever calls exec into the peak of what
 * is executed: launched by a benchmark that holds pictures, every program would seem as large as
 * it. Nothing but libc is linked here, so the floor is about a megabyte.  status is that of
 * waitpid.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec start, end;
    struct rusage usage;
    int status;
    if (argc < 2 || fcntl(3, F_SETFD, FD_CLOEXEC) != 0) {
        fprintf(stderr, "launch: needs a program to run and file descriptor 3\n");
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("launch");
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    return dprintf(3, "%.9f %ld %d\n", seconds, usage.ru_maxrss, status) > 0 ? 0 : 1;
}
