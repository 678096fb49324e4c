// SPDX-License-Identifier: Apache-2.0
// Device memory and streams that free themselves, and CUDA's error codes as exceptions. Plain C++.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace lawcat::cuda {

/// Empty when this process can use a GPU of the architecture that the kernels are built for (9.0), else why
/// not.
const std::string& device_problem();

/// Throws std::runtime_error, "what: CUDA's message", unless `error` is cudaSuccess.
void check(cudaError_t error, const char* what);

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Uninitialised memory. Throws std::bad_alloc when the device has no room.
  explicit DeviceBuffer(std::size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer();

  /// Makes room for `bytes`; what was there is lost if it must grow.
  void reserve(std::size_t bytes);
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

class Stream {
 public:
  Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();
  cudaStream_t get() const { return stream_; }
  void wait() const;

 private:
  cudaStream_t stream_ = nullptr;
};

/// A moment on the GPU's clock.
class Event {
 public:
  Event();
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  ~Event();
  void record(cudaStream_t stream, unsigned flags = cudaEventRecordDefault) const;
  void wait() const;
  /// Seconds from `start` to this; both must have happened.
  double seconds_since(const Event& start) const;

 private:
  cudaEvent_t event_ = nullptr;
};

struct DestroyGraph {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
/// A captured graph, ready to be launched; empty or owned.
using GraphExec = std::unique_ptr<CUgraphExec_st, DestroyGraph>;

struct EventPair {
  double seconds() const { return stop.seconds_since(start); }
  Event start, stop;
};

}  // namespace lawcat::cuda
