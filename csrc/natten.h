/* The C interface of libnatten.so. Loading the library registers the operators
 * natten::na, natten::na_qk and natten::na_av with libtorch; everything here is
 * what a language without C++ needs besides.
 *
 * Every function that can fail returns NULL on success and otherwise a message
 * that the caller releases with natten_free. No exception leaves the library.
 * A tensor is a pointer to a heap-allocated at::Tensor, as gotch has it; who
 * receives one from here owns it (natten_tensor_free). */
#ifndef NATTEN_H
#define NATTEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NATTEN_API __attribute__((visibility("default")))
#else
#define NATTEN_API
#endif

typedef void* natten_tensor;
typedef const void* natten_operator;

NATTEN_API void natten_free(void* memory);

/* ---- Calling any registered operator -------------------------------------
 * An argument list is a flat array of 64-bit words: a tag, then its payload.
 * Trailing arguments may be left out where the schema has defaults. Results
 * come back in the same form. */
enum natten_tag {
  NATTEN_NONE = 0,        /* no payload */
  NATTEN_TENSOR = 1,      /* pointer, 0: undefined */
  NATTEN_INT = 2,         /* value; also ScalarType, Layout and MemoryFormat */
  NATTEN_DOUBLE = 3,      /* bits */
  NATTEN_BOOL = 4,        /* 0 or 1 */
  NATTEN_INT_LIST = 5,    /* count, values */
  NATTEN_DOUBLE_LIST = 6, /* count, bits */
  NATTEN_BOOL_LIST = 7,   /* count, values */
  NATTEN_TENSOR_LIST = 8, /* count, pointers */
  NATTEN_STRING = 9,      /* count of bytes, bytes padded to words */
  NATTEN_DEVICE = 10,     /* type (0 CPU, 1 CUDA, 14 Meta), index or -1 */
  NATTEN_DEFAULT = 11,    /* no payload: the schema's default */
  NATTEN_GRADIENTS = 12   /* count, pointers to leaves: the list of their gradients, which must exist */
};

/* Finds an operator, e.g. "aten::add" with overload "Tensor". Valid for ever. */
NATTEN_API char* natten_operator_find(const char* name, const char* overload, natten_operator* op);

/* Calls it. `results` has room for `capacity` words; `*written` is how many were
 * used. More results than fit are an error, and no tensor leaks. */
NATTEN_API char* natten_call(natten_operator op, const int64_t* arguments, int64_t length, int64_t* results,
                             int64_t capacity, int64_t* written);

/* ---- Tensors -------------------------------------------------------------*/
NATTEN_API void natten_tensor_free(natten_tensor tensor);

/* Fixed facts and shape in one call: info = {defined, dtype, device type, device index, bytes per element,
 * contiguous, requires_grad, dim, nested, sizes..., strides...}; room for `capacity` words. A nested tensor's ragged
 * sizes are -1 and its strides 0. */
NATTEN_API char* natten_tensor_info(natten_tensor tensor, int64_t* info, int64_t capacity);

/* Copies `bytes` bytes between memory and a tensor of exactly that size, converting layout and device, not dtype. */
NATTEN_API char* natten_tensor_write(natten_tensor tensor, const void* data, int64_t bytes);
NATTEN_API char* natten_tensor_read(natten_tensor tensor, void* data, int64_t bytes);

/* Where the elements of a contiguous CPU tensor lie, to be overwritten while the tensor lives. */
NATTEN_API char* natten_tensor_memory(natten_tensor tensor, void** data);

/* The accumulated gradient, a new handle; NULL where there is none. */
NATTEN_API char* natten_tensor_grad(natten_tensor tensor, natten_tensor* grad);
/* Replaces the gradient; NULL clears it. */
NATTEN_API char* natten_tensor_set_grad(natten_tensor tensor, natten_tensor grad);
/* For many leaves at once: which have a gradient (1 or 0 each), and clearing them all. */
NATTEN_API char* natten_gradients_defined(const natten_tensor* tensors, int64_t count, uint8_t* defined);
NATTEN_API char* natten_gradients_clear(const natten_tensor* tensors, int64_t count);

/* The gradients of sum(outputs * output_gradients) with respect to inputs, as new handles (NULL: does not depend on
 * it). A NULL output gradient stands for 1 and needs a scalar output. create_graph: they can be differentiated again.
 */
NATTEN_API char* natten_gradients(const natten_tensor* outputs, const natten_tensor* output_gradients,
                                  int64_t output_count, const natten_tensor* inputs, int64_t input_count,
                                  int create_graph, natten_tensor* gradients);
/* The process's one level of forward-mode differentiation, and whether this OS thread entered it. */
NATTEN_API char* natten_dual_enter(void);
NATTEN_API char* natten_dual_leave(void);
NATTEN_API int natten_dual_entered(void);

/* ---- TorchScript ----------------------------------------------------------
 * What the calling OS thread computes between the two calls, from `input`, is saved as a TorchScript module to the file
 * `path`. Its parameters are the `count` tensors, under dotted names: `names` has a line for each. `text` goes along as
 * an extra file `name`. A NULL output discards the export; either way the handle is gone. */
typedef void* natten_export;
NATTEN_API char* natten_export_begin(const char* names, const natten_tensor* tensors, int64_t count,
                                     natten_tensor input, natten_export* handle);
NATTEN_API char* natten_export_end(natten_export handle, natten_tensor output, const char* path, const char* name,
                                   const char* text);

/* ---- State of libtorch ---------------------------------------------------
 * Gradient mode and autocast belong to the OS thread; the rest to the process. */
NATTEN_API int natten_grad_enabled(void);
NATTEN_API void natten_set_grad_enabled(int enabled);
/* Autocast of the calling OS thread for a device type (0 CPU, 1 CUDA): matrix products, convolutions and attention run
 * in dtype (ScalarType 5 float16, 15 bfloat16). Entering tells what held before, for leaving to restore; leaving the
 * outermost region clears the cache of cast weights. */
typedef struct {
  int enabled, dtype;
} natten_autocast;
NATTEN_API char* natten_autocast_enter(int device, int dtype, natten_autocast* before);
NATTEN_API char* natten_autocast_leave(int device, natten_autocast before);
/* From now on the process gives blocks of memory of at least `bytes` bytes back to the system when they are freed, and
 * takes them anew from there, which costs time. Nothing happens where the C library is not glibc. */
NATTEN_API void natten_return_freed_memory(int64_t bytes);
NATTEN_API int natten_threads(void);
NATTEN_API char* natten_set_threads(int threads);
NATTEN_API char* natten_manual_seed(uint64_t seed);
NATTEN_API int natten_deterministic(void);
NATTEN_API char* natten_set_deterministic(int enabled);
/* How many devices of a type there are (0 where it is not usable), and the one that the calling OS thread is at. */
NATTEN_API int natten_device_count(int device);
NATTEN_API char* natten_set_device(int device, int index);
/* State of a device's generator (device type 0 CPU, 1 CUDA; index or -1) as a uint8 tensor, and back. */
NATTEN_API char* natten_generator_state(int device, int index, natten_tensor* state);
NATTEN_API char* natten_set_generator_state(int device, int index, natten_tensor state);

/* ---- Watching what runs ---------------------------------------------------
 * A recording notes every operator that the calling OS thread runs, and those
 * of its backward passes on whatever thread. Start and end it on one thread;
 * one recording per thread at a time. */
typedef void* natten_trace;

/* With `shapes_only`, operators get stand-ins without data for their tensors:
 * nothing is computed, read or written. Otherwise everything runs as usual. */
NATTEN_API char* natten_trace_begin(int shapes_only, natten_trace* trace);
/* Lets a tensor, and what shares its storage, be known by a name of `length` bytes. */
NATTEN_API char* natten_trace_name(natten_trace trace, natten_tensor tensor, const char* name, int64_t length);
/* Operators from here on belong to that module, until the matching leave. Nothing happens where no recording runs. */
NATTEN_API void natten_trace_enter(const char* module, int64_t length);
NATTEN_API void natten_trace_leave(void);
/* Ends the recording and hands it over as words, to be released with natten_free:
 *   count of strings; each: bytes, content padded to words
 *   count of operators; each: name (string), enclosing operator or -1, module (string) or -1,
 *     autograd sequence number or -1, flags, count of arguments, arguments, count of results, results
 * Arguments and results are written as for natten_call, except: a string is its number; a tensor is its tag, id,
 * name (string) or -1, dtype, bytes per element, dimensions (-1: it has no sizes), sizes; in lists each tensor has
 * its tag, NATTEN_NONE where undefined. Flags: 1 decomposes on every device, 2 composite in its forward, 4 a node of
 * the backward graph, 8 computed on zeros. `words` may be NULL: the recording is thrown away. */
NATTEN_API char* natten_trace_end(natten_trace trace, int64_t** words);

/* While on, operators that make floating-point tensors out of nothing make them without data, on this thread. */
NATTEN_API void natten_set_make_on_meta(int enabled);

/* ---- TorchScript files ----------------------------------------------------*/
typedef void* natten_script;
NATTEN_API char* natten_script_load(const char* file, natten_script* script);
NATTEN_API void natten_script_free(natten_script script);
/* Names every parameter and buffer of the file in a recording and hands the names over as words, to be released with
 * natten_free: count of names; each: bytes, content padded to words; then for each its elements, and 1 for a buffer. */
NATTEN_API char* natten_script_name(natten_script script, natten_trace trace, int64_t** words);
/* Runs its forward on `count` tensors and drops the result. */
NATTEN_API char* natten_script_run(natten_script script, const natten_tensor* inputs, int64_t count);

/* ---- Several processes -----------------------------------------------------
 * Libtorch's c10d: a store through which processes find each other, collective
 * operations over it (Gloo for CPU tensors, NCCL for CUDA's), and averaging of
 * gradients during the backward pass. On the CPU all of it blocks, on CUDA it is
 * done in the order of the current stream. One thread at a time uses a handle. */
typedef void* natten_store;
typedef void* natten_group;
typedef void* natten_reducer;

/* Connects to the store at host:port, or with `serve` becomes it. Keys get a prefix. */
NATTEN_API char* natten_store_open(const char* host, int port, int serve, const char* prefix, int64_t timeout_ms,
                                   natten_store* store);
NATTEN_API void natten_store_close(natten_store store);
NATTEN_API char* natten_store_set(natten_store store, const char* key, const void* data, int64_t bytes);
NATTEN_API char* natten_store_add(natten_store store, const char* key, int64_t amount, int64_t* sum);
/* Waits for a key; `data` is released with natten_free, and NULL where the key did not come in time. */
NATTEN_API char* natten_store_get(natten_store store, const char* key, int64_t timeout_ms, void** data, int64_t* bytes);

/* Every process of the group calls each of these in the same order. */
/* `cuda` is the process's CUDA device, -1 for a group on the CPU only. */
NATTEN_API char* natten_group_open(natten_store store, int rank, int size, int64_t timeout_ms, int cuda,
                                   natten_group* group);
/* Sets up NCCL, which waits for all processes; nothing on the CPU. */
NATTEN_API char* natten_group_connect(natten_group group);
/* Waits until the group's CUDA device has done what the current stream holds; nothing on the CPU. */
NATTEN_API char* natten_group_wait(natten_group group);
NATTEN_API void natten_group_close(natten_group group);
/* Cuts the connections, so that the others notice at once; any thread may call it, and what waits for other processes
 * returns, on CUDA without a result. Afterwards the group is good for nothing, not even close. */
NATTEN_API char* natten_group_abort(natten_group group);
/* Each tensor becomes the sum over the group, or the root's. */
NATTEN_API char* natten_group_sum(natten_group group, const natten_tensor* tensors, int64_t count);
NATTEN_API char* natten_group_broadcast(natten_group group, const natten_tensor* tensors, int64_t count, int root);
/* Buckets of gradients averaged so far. */
NATTEN_API int64_t natten_group_reductions(natten_group group);

/* Averages the gradients of leaves in buckets of that size. Call prepare before the forward pass of a batch whose
 * backward pass is to average them (others only add to them), and check after it: it fails where a leaf got no gradient
 * in that pass. The group must outlive the reducer. */
NATTEN_API char* natten_reducer_open(natten_group group, const natten_tensor* parameters, int64_t count,
                                     int64_t bucket_bytes, natten_reducer* reducer);
NATTEN_API char* natten_reducer_close(natten_reducer reducer);
NATTEN_API char* natten_reducer_prepare(natten_reducer reducer);
NATTEN_API char* natten_reducer_check(natten_reducer reducer);

/* ---- What this build is --------------------------------------------------*/
NATTEN_API const char* natten_cpu_instruction_set(void); /* of the kernels in use */
NATTEN_API const char* natten_libtorch_version(void);    /* of the headers it was built with */
NATTEN_API int natten_has_cuda(void);                    /* CUDA kernels are registered */
NATTEN_API const char* natten_cuda_status(void);         /* why there are none, one sentence; "" where there are */

/* Whether convolutions of float32 on CUDA may round their inputs to TF32; `before`: what held. */
NATTEN_API char* natten_allow_tf32(int allowed, int* before);

/* ---- Kernel classes of CUDA ------------------------------------------------
 * Forces a class ("hopper", "tile", "naive"...) for this thread's forward calls; "auto" or "" chooses again. */
NATTEN_API char* natten_cuda_force(const char* name);
/* Which classes would take a call, and why not: one line each, the one that runs first marked. `axes`: length, kernel,
 * dilation of each of `rank` axes. `operation`: 0 the fused forward, 1 its backward, 2 the unfused operators. *text
 * goes to natten_free. */
NATTEN_API char* natten_cuda_why(int rank, const int64_t* axes, int64_t batch, int64_t heads, int64_t dim, int dtype,
                                 int rpb, int operation, int device, char** text);

#ifdef __cplusplus
}
#endif
#endif
