// The names of CUDA's libraries that libtorch's headers mention on the way to
// c10d/ProcessGroupNCCL.hpp: handles and codes only, held behind pointers. The
// wheels of those libraries are hundreds of megabytes, and nothing here calls
// them; where a CUDA toolkit has the real headers, those are taken.
#pragma once

using cusparseHandle_t = struct cusparseContext*;
using cublasHandle_t = struct cublasContext*;
using cublasLtHandle_t = struct cublasLtContext*;
using cusolverDnHandle_t = struct cusolverDnContext*;

enum cusparseStatus_t : int {};
enum cublasStatus_t : int {};
enum cusolverStatus_t : int {};
