/*
 * analyzer.h - included before every file by `make analyze` and `make lint`: tells analyzers that
 * vqzi_fail returns the status that it is given, so that no path goes on as if a failure had been
 * none.
 */
#ifndef TESTS_ANALYZER_H
#define TESTS_ANALYZER_H

#include "format/common.h"

#define vqzi_fail(diag, status, ...) ((void)vqzi_fail(diag, status, __VA_ARGS__), (status))

#endif
