/* comm.h - the message verbs we use. comm_mpi.c is the only file that sees mpi.h. */
#ifndef METAVAR_COMM_H
#define METAVAR_COMM_H

#include <stdbool.h>
#include <stddef.h>

struct mv_comm; /* one per process */

/* Starts MPI if a launcher (mpirun, srun --mpi=pmix) started this process; else a world of one rank, without MPI. */
struct mv_comm *mv_comm_start(int *argc, char ***argv);
int mv_comm_rank(const struct mv_comm *);
int mv_comm_size(const struct mv_comm *);
const char *mv_comm_host(const struct mv_comm *);
const char *mv_comm_library(void); /* "Open MPI v4.1.4, ..." without starting it */

/* Blocking send and receive of byte strings. Messages of one sender arrive in order. */
void mv_comm_send(struct mv_comm *, int to, int tag, const void *bytes, size_t size);
/* Waits for a message from `from` (-1: anyone); grows *buffer (malloc'ed, *capacity) as needed; returns its size. */
size_t mv_comm_receive(struct mv_comm *, int from, int *source, int *tag, void **buffer, size_t *capacity);
/* The same if a message is there; false otherwise, at once. */
bool mv_comm_poll(struct mv_comm *, int *source, int *tag, void **buffer, size_t *capacity, size_t *size);
/* Small collective at start: every rank gets rank 0's bytes; rank 0 gets everyone's (out[size * bytes]). */
void mv_comm_share(struct mv_comm *, void *bytes, size_t size);
void mv_comm_gather(struct mv_comm *, const void *bytes, size_t size, void *out);

/* Orderly end: all ranks call it when nothing is under way, with the same exit code, which is returned. */
int mv_comm_stop(struct mv_comm *, int exit_code);
_Noreturn void mv_comm_abort(struct mv_comm *, int exit_code); /* ends all ranks */

/* Before the start, from the launcher's environment: is this the rank that talks to the user? */
bool mv_comm_speaks(void);

#endif
