// Explains a photograph with an instrumented model: ONNX Runtime's C++ API, and nothing else.
//
//   g++ -std=c++17 explain.cpp -I ORT/include -L ORT/lib -lonnxruntime -o explain
//   ./explain model.fg.onnx photo.ppm map.pgm [CLASS]
//
// The photograph is a binary PPM (or PGM, for a model of one channel) without comments, in the size
// that the model takes; the map is a PGM. Without CLASS the predicted class is explained.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

// What the model was trained with, for pixels from 0 to 1. ImageNet's, as torchvision has it, are
// {0.485, 0.456, 0.406} and {0.229, 0.224, 0.225}.
constexpr float MEAN[] = {0, 0, 0}, STD[] = {1, 1, 1};

// The pixels as [1, channels, height, width]; `shape` is set to that.
std::vector<float> read_image(const char* path, std::vector<int64_t>& shape) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, most = 0;
  file >> magic >> width >> height >> most;
  file.get();
  if (!file || (magic != "P5" && magic != "P6") || most != 255 || std::min(width, height) < 1 ||
      std::max(width, height) > 32767)
    throw std::runtime_error(std::string(path) + " is no binary PPM or PGM of 8 bits");
  const int64_t channels = magic == "P6" ? 3 : 1, size = width * height;
  std::vector<unsigned char> bytes(channels * size);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), bytes.size()))
    throw std::runtime_error(std::string(path) + " is cut short");
  shape = {1, channels, height, width};
  std::vector<float> image(bytes.size());
  for (int64_t i = 0; i < size; ++i)
    for (int64_t c = 0; c < channels; ++c)
      image[c * size + i] = (bytes[i * channels + c] / 255.0f - MEAN[c]) / STD[c];
  return image;
}

void write_map(const char* path, const float* map, int64_t height, int64_t width) {
  const float most = *std::max_element(map, map + height * width);
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << width << " " << height << "\n255\n";
  for (int64_t i = 0; i < height * width; ++i)
    file.put(static_cast<char>(std::lround(255 * std::max(map[i], 0.0f) / std::max(most, 1e-30f))));
  if (!file.flush()) throw std::runtime_error(std::string("cannot write ") + path);
}

int main(int count, char** arguments) try {
  if (count < 4) throw std::runtime_error("usage: explain MODEL PHOTO MAP [CLASS]");
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR);
  Ort::Session session(env, arguments[1], Ort::SessionOptions{});
  Ort::AllocatorWithDefaultOptions allocator;
  const auto image_name = session.GetInputNameAllocated(0, allocator);  // the source's own inputs come first

  std::vector<int64_t> shape, one = {1};
  std::vector<float> image = read_image(arguments[2], shape);
  const char* wanted = count > 4 ? arguments[4] : "-1";  // -1 stands for the predicted class
  char* end = nullptr;
  int64_t target = std::strtoll(wanted, &end, 10);
  if (end == wanted || *end) throw std::runtime_error("CLASS is the number of a class");
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Value fed[] = {
      Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), shape.data(), 4),
      Ort::Value::CreateTensor<int64_t>(memory, &target, 1, one.data(), 1)};
  const char* inputs[] = {image_name.get(), "fg_target"};
  const char* outputs[] = {"fg_explained", "fg_score", "fg_contributions", "fg_saliency"};
  const auto found = session.Run(Ort::RunOptions{}, inputs, fed, 2, outputs, 4);

  const float score = *found[1].GetTensorData<float>(), *terms = found[2].GetTensorData<float>();
  const size_t sites = found[2].GetTensorTypeAndShapeInfo().GetElementCount();
  const double sum = std::accumulate(terms, terms + sites, 0.0);
  std::printf("class %lld\nscore %.6g\ncontributions %.6g\n",
              static_cast<long long>(*found[0].GetTensorData<int64_t>()), score, sum);
  const auto size = found[3].GetTensorTypeAndShapeInfo().GetShape();  // [1, 1, height, width]
  write_map(arguments[3], found[3].GetTensorData<float>(), size[2], size[3]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
