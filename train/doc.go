// Package train trains models: the loop over data, losses, evaluation, saved
// weights, and Run, which does a whole run from one configuration.
//
// The parts stand alone. optim and schedule know nothing of models; Loop needs
// only a model with Apply, parameters, and a source of batches, and everything
// else (progress, records, saving) hangs on its hooks.
//
// A Loop and whatever computes with its model run on one OS thread.
package train
