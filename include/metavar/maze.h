/* maze.h - the grid world of Vuorio et al. 2022, section on MDPs, and its random draws.
 *
 * A player and two objects, green and blue, on distinct cells of a side x side grid, cells counted row by row. A move past
 * the wall stays. The player on an object gets the object's reward, and the object moves to a free cell; else a step costs.
 * A place among k is floor(u k) of one uniform u.
 */
#ifndef METAVAR_MAZE_H
#define METAVAR_MAZE_H

#include <stdbool.h>

enum { MV_MAZE_PLAYER, MV_MAZE_GREEN, MV_MAZE_BLUE, MV_MAZE_THINGS };
enum { MV_MAZE_LEFT, MV_MAZE_DOWN, MV_MAZE_RIGHT, MV_MAZE_UP, MV_MAZE_ACTIONS };
enum { MV_MAZE_PLACED = MV_MAZE_THINGS, MV_MAZE_RESPAWNS = 2 }; /* uniforms of a new maze; of a step, one an object */

#define MV_MAZE_STEP_REWARD (-0.04)
#define MV_MAZE_GOAL_REWARD 1.0 /* of the goal; of the other object -1 */

static inline int mv_maze_place(double u, int count)
{
  int place = (int)(u * count);
  return place < count ? place : count - 1;
}

/* The k-th cell, from 0, that is neither a nor b. */
static inline int mv_maze_free(int k, int a, int b)
{
  int low = a < b ? a : b, high = a < b ? b : a;
  k += k >= low;
  return k + (k >= high);
}

/* cell[MV_MAZE_THINGS] out: uniform over distinct cells. */
static inline void mv_maze_start(int side, const double u[MV_MAZE_PLACED], int *cell)
{
  const int cells = side * side;
  int player = mv_maze_place(u[0], cells), green = mv_maze_place(u[1], cells - 1);
  green += green >= player;
  cell[MV_MAZE_PLAYER] = player;
  cell[MV_MAZE_GREEN] = green;
  cell[MV_MAZE_BLUE] = mv_maze_free(mv_maze_place(u[2], cells - 2), player, green);
}

/* Where an action leads from a cell. */
static inline int mv_maze_move(int side, int cell, int action)
{
  int row = cell / side + (action == MV_MAZE_DOWN) - (action == MV_MAZE_UP);
  int column = cell % side + (action == MV_MAZE_RIGHT) - (action == MV_MAZE_LEFT);
  row = row < 0 ? 0 : row >= side ? side - 1 : row;
  column = column < 0 ? 0 : column >= side ? side - 1 : column;
  return row * side + column;
}

/* One step: moves the player, returns the reward. The object that it steps on goes to one of the cells that are free then,
 * each as likely; or, as in the published code, to any of them but the last (v22_respawn). goal: the object that pays. */
static inline double mv_maze_step(int side, int action, int goal, bool v22_respawn, const double u[MV_MAZE_RESPAWNS],
                                  int *cell)
{
  const int to = mv_maze_move(side, cell[MV_MAZE_PLAYER], action), places = side * side - 2 - v22_respawn;
  cell[MV_MAZE_PLAYER] = to;
  for (int object = MV_MAZE_GREEN; object <= MV_MAZE_BLUE; object++)
    if (cell[object] == to) {
      int other = cell[MV_MAZE_GREEN + MV_MAZE_BLUE - object];
      cell[object] = mv_maze_free(mv_maze_place(u[object - MV_MAZE_GREEN], places), to, other);
      return object == goal ? MV_MAZE_GOAL_REWARD : -MV_MAZE_GOAL_REWARD;
    }
  return MV_MAZE_STEP_REWARD;
}

#endif
