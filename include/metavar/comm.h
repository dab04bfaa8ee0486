/* comm.h - the message verbs we use. comm_mpi.c is the only file that sees mpi.h. */
#ifndef METAVAR_COMM_H
#define METAVAR_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mv_comm; /* one per process */

/* Starts MPI if a launcher (mpirun, srun --mpi=pmix) started this process; else a world of one rank, without MPI. */
struct mv_comm *mv_comm_start(int *argc, char ***argv);
int mv_comm_rank(const struct mv_comm *);
int mv_comm_size(const struct mv_comm *);
const char *mv_comm_host(const struct mv_comm *);
const char *mv_comm_library(void); /* "Open MPI v4.1.4, ..." without starting it */

/* Byte strings. Messages of one sender arrive in order. No sender waits for its receiver. mv_comm_send copies. */
void mv_comm_send(struct mv_comm *, int to, int tag, const void *bytes, size_t size);
/* Without a copy: bytes come from mv_comm_buffer just before, and are free for the next one then. */
void *mv_comm_buffer(struct mv_comm *, size_t size);
void mv_comm_post(struct mv_comm *, int to, int tag, void *bytes, size_t size);
/* Without a copy, one at a time: bytes stay as they are until mv_comm_taken, which waits for that. False: not within so
 * many seconds, and then nothing but mv_comm_abort is left. */
void mv_comm_lend(struct mv_comm *, int to, int tag, const void *bytes, size_t size);
bool mv_comm_taken(struct mv_comm *, double seconds);
/* Waits for a message from a rank; grows *buffer (malloc'ed, *capacity) as needed. False: none came, or not all of one,
 * and then nothing but mv_comm_abort is left. */
bool mv_comm_receive(struct mv_comm *, int from, double seconds, int *tag, void **buffer, size_t *capacity,
                     size_t *size);
/* Takes a message from anyone if one is there; false otherwise, at once. */
bool mv_comm_poll(struct mv_comm *, int *source, int *tag, void **buffer, size_t *capacity, size_t *size);
/* Whether one is on its way that mv_comm_poll has seen, but not all of it is here. Only so much may be, and then others
 * wait; what this rank has begun to send, which does not answer, does not count any more. */
bool mv_comm_arriving(const struct mv_comm *);
void mv_comm_set_aside(struct mv_comm *, int rank);
/* What this rank has sent and received with these so far. */
struct mv_traffic {
  int64_t messages, bytes;
};
struct mv_traffic mv_comm_traffic(const struct mv_comm *);
/* Small collective at start: every rank gets rank 0's bytes; rank 0 gets everyone's (out[size * bytes]). */
void mv_comm_share(struct mv_comm *, void *bytes, size_t size);
void mv_comm_gather(struct mv_comm *, const void *bytes, size_t size, void *out);

/* Rank 0: some rank does not answer any more. mv_comm_share does nothing from here on; mv_comm_stop ends all ranks. */
void mv_comm_lose(struct mv_comm *);

/* The end, for all ranks, when nothing is under way; returns rank 0's exit code on all. Waits for rank 0, and rank 0 for
 * the others, but no longer than `patience` seconds: a rank that does not come is ended. */
int mv_comm_stop(struct mv_comm *, int exit_code, double patience);
_Noreturn void mv_comm_abort(struct mv_comm *, int exit_code); /* ends all ranks */

/* Before the start, from the launcher's environment: is this the rank that talks to the user? */
bool mv_comm_speaks(void);
/* Whether that rank may end before the start with an exit code, and the launcher ends the others and passes it on. mpirun
 * does; srun kills them and reports that. */
bool mv_comm_may_leave(void);

#endif
