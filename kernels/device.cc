// SPDX-License-Identifier: Apache-2.0
// See device.h.
#include "kernels/device.h"

#include <fmt/format.h>

#include <new>
#include <stdexcept>

namespace lawcat::cuda {

const std::string& device_problem() {
  static const std::string problem = []() -> std::string {
    int devices = 0;
    if (const cudaError_t error = cudaGetDeviceCount(&devices); error != cudaSuccess)
      return fmt::format("no usable GPU: {}", cudaGetErrorString(error));
    if (devices == 0) return "this machine has no GPU";
    int major = 0;
    int minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (major != 9 || minor != 0)
      return fmt::format("the kernels are built for compute capability 9.0, this GPU has {}.{}", major,
                         minor);
    return "";
  }();
  return problem;
}

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(fmt::format("{}: {}", what, cudaGetErrorString(error)));
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const cudaError_t error = cudaMalloc(&data_, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it sticks otherwise
    throw std::bad_alloc();
  }
  check(error, "device memory");
}

DeviceBuffer::~DeviceBuffer() {
  cudaFree(data_);
}

void DeviceBuffer::reserve(std::size_t bytes) {
  if (bytes <= bytes_) return;
  *this = DeviceBuffer();  // first free, then ask
  *this = DeviceBuffer(bytes);
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
}

Stream::~Stream() {
  cudaStreamDestroy(stream_);
}

void Stream::wait() const {
  check(cudaStreamSynchronize(stream_), "stream");
}

Event::Event() {
  check(cudaEventCreate(&event_), "event");
}

Event::~Event() {
  if (event_) cudaEventDestroy(event_);
}

void Event::record(cudaStream_t stream, unsigned flags) const {
  check(cudaEventRecordWithFlags(event_, stream, flags), "event");
}

void Event::wait() const {
  check(cudaEventSynchronize(event_), "event");
}

double Event::seconds_since(const Event& start) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "event");
  return milliseconds * 1e-3;
}

}  // namespace lawcat::cuda
