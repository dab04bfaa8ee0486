/* sandbox.h - reading files that may be damaged or hostile, in a child process with limits. */
#ifndef METAVAR_SANDBOX_H
#define METAVAR_SANDBOX_H

/* Runs work(argument) in a child process and returns its exit code. A child that crashes, or that spends more than its
 * limits, becomes one message on stderr and MV_EXIT_DATA. `verb` names the command in messages. */
int mv_sandbox_run(const char *verb, int (*work)(const void *argument), const void *argument);

/* Inside the child: from here on, `seconds` of processor time without a further call end it; 0: no limit. Outside: does
 * nothing. */
void mv_sandbox_budget(int seconds);

#endif
