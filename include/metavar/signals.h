/* signals.h - being asked to leave. */
#ifndef METAVAR_SIGNALS_H
#define METAVAR_SIGNALS_H

/* From here on SIGTERM, SIGINT and SIGUSR1 are noted. The first SIGTERM or SIGINT asks; one that comes a second or more
 * after it ends the program at once. Call it again after MPI_Init, which may put handlers of its own there. */
void mv_signals_catch(void);

/* The first signal that was noted; 0: none. */
int mv_signals_noted(void);

#endif
